"""Classifier-free guidance: how network calls are shared, and what packs may hook in."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from executor.inference.conditions import Condition, resolve, with_controls, with_counterparts
from executor.inference.control import Control
from executor.inference.denoiser import ModelSampling
from executor.inference.guidance import Guider
from tests.maths.recordings import sampling


@dataclass(frozen=True, kw_only=True)
class CountingModel:
    """Answers with a constant per row and remembers what it was called with."""

    sampling: ModelSampling
    calls: list[dict[str, object]] = field(default_factory=list)

    def apply(self, x: Tensor, sigma: Tensor, *, context: Tensor, transformer_options: dict[str, object]) -> Tensor:
        self.calls.append({"x": x.shape, "sigma": sigma, "context": context.shape, **transformer_options})
        return context.mean(dim=(1, 2))[:, None, None, None] * torch.ones_like(x)


@pytest.fixture
def model() -> CountingModel:
    return CountingModel(sampling=sampling("eps_sd15"))


def condition(value: float, tokens: int = 3, **options: object) -> Condition:
    return replace(Condition(context=torch.full((1, tokens, 4), value)), **options)


X = torch.zeros(2, 4, 16, 16)


def test_both_sides_share_one_call(model: CountingModel) -> None:
    Guider(model, [condition(3.0)], [condition(1.0)], 5.0)(X, 2.0)
    assert [call["x"] for call in model.calls] == [(4, 4, 16, 16)]


def test_guidance_moves_away_from_the_negative_side(model: CountingModel) -> None:
    denoised = Guider(model, [condition(3.0)], [condition(1.0)], 5.0)(X, 2.0)
    assert torch.equal(denoised, torch.full_like(X, 1.0 + (3.0 - 1.0) * 5.0))


def test_the_network_hears_which_rows_are_whose(model: CountingModel) -> None:
    Guider(model, [condition(3.0)], [condition(1.0)], 5.0)(X, 2.0)
    assert model.calls[0]["cond_or_uncond"] == [0, 1]


def test_a_scale_of_one_leaves_the_negative_side_out(model: CountingModel) -> None:
    Guider(model, [condition(3.0)], [condition(1.0)], 1.0)(X, 2.0)
    assert [call["x"] for call in model.calls] == [(2, 4, 16, 16)]


def test_a_scale_of_one_still_knows_the_negative_side_when_asked(model: CountingModel) -> None:
    unconditional = Guider(model, [condition(3.0)], [condition(1.0)], 1.0).both(X, 2.0).unconditional
    assert torch.equal(unconditional, torch.ones_like(X))


def test_embeddings_of_like_lengths_are_repeated_to_share_a_call(model: CountingModel) -> None:
    Guider(model, [condition(3.0, 6)], [condition(1.0, 3)], 5.0)(X, 2.0)
    assert [call["context"] for call in model.calls] == [(4, 6, 4)]


def test_embeddings_of_unlike_lengths_are_called_apart(model: CountingModel) -> None:
    Guider(model, [condition(3.0, 7)], [condition(1.0, 5)], 5.0)(X, 2.0)
    assert len(model.calls) == 2


def test_crops_of_another_size_are_called_apart(model: CountingModel) -> None:
    area = condition(3.0, area=(8, 8, 0, 0))
    Guider(model, [area], [condition(1.0)], 5.0)(X, 2.0)
    assert [call["x"] for call in model.calls] == [(2, 4, 8, 8), (2, 4, 16, 16)]


def test_conditions_outside_their_range_are_not_evaluated(model: CountingModel) -> None:
    Guider(model, [condition(3.0), condition(9.0, first_sigma=1.0)], [], 1.0)(X, 2.0)
    assert model.calls[0]["x"] == (2, 4, 16, 16)


def test_no_conditions_at_all_answer_with_zero(model: CountingModel) -> None:
    assert torch.equal(Guider(model, [], [], 5.0)(X, 2.0), torch.zeros_like(X))


def test_a_pack_may_mix_the_answers_itself(model: CountingModel) -> None:
    options = {"sampler_cfg_function": lambda given: given["input"] - given["cond_denoised"]}
    denoised = Guider(model, [condition(3.0)], [condition(1.0)], 5.0, options)(X, 2.0)
    assert torch.equal(denoised, torch.full_like(X, 3.0))


def test_a_pack_may_change_the_mixed_answer(model: CountingModel) -> None:
    options = {"sampler_post_cfg_function": [lambda given: given["denoised"] * 2]}
    denoised = Guider(model, [condition(3.0)], [condition(1.0)], 5.0, options)(X, 2.0)
    assert torch.equal(denoised, torch.full_like(X, 22.0))


def test_a_pack_may_change_the_answers_before_they_are_mixed(model: CountingModel) -> None:
    options = {"sampler_pre_cfg_function": [lambda given: [answer + 1 for answer in given["conds_out"]]]}
    denoised = Guider(model, [condition(3.0)], [condition(1.0)], 5.0, options)(X, 2.0)
    assert torch.equal(denoised, torch.full_like(X, 12.0))


def test_an_area_gets_the_other_sides_answer_on_the_same_crop() -> None:
    area = condition(3.0, area=(8, 8, 0, 0), strength=0.5)
    added = with_counterparts([condition(1.0)], [area])[1]
    assert (added.area, added.strength) == ((8, 8, 0, 0), 0.5)
    assert torch.equal(added.context, condition(1.0).context)


def test_an_area_that_both_sides_have_needs_no_counterpart() -> None:
    own = [condition(1.0), condition(2.0, area=(8, 8, 0, 0))]
    assert with_counterparts(own, [condition(3.0, area=(8, 8, 0, 0))]) == own


def test_a_side_without_a_whole_picture_gets_no_counterparts() -> None:
    own = [condition(1.0, area=(16, 8, 0, 0))]
    assert with_counterparts(own, [condition(3.0, area=(8, 8, 2, 2))]) == own


def test_an_area_fades_over_a_quarter_of_a_long_side() -> None:
    weight = condition(1.0, area=(8, 64, 0, 0)).weight(torch.zeros(1, 4, 8, 128))
    assert (weight < 1).sum().item() == 8 * (64 // 4 - 1)


def test_an_area_outside_the_picture_is_refused() -> None:
    from executor.errors import NodeInputError

    entries = [[torch.zeros(1, 3, 4), {"area": (8, 8, 32, 0)}]]
    with pytest.raises(NodeInputError, match="outside the picture of 128x128 pixels"):
        resolve(entries, X.shape, sampling("eps_sd15"))


@pytest.mark.parametrize(("masks", "rows"), [(1, (0, 0, 0, 0)), (2, (0, 1, 0, 1)), (5, (0, 1, 2, 3))])
def test_masks_of_any_number_serve_the_latents_in_turn(masks: int, rows: tuple[int, ...]) -> None:
    mask = torch.arange(1.0, masks + 1)[:, None, None].expand(masks, 16, 16)
    [found] = resolve([[torch.zeros(1, 3, 4), {"mask": mask}]], torch.Size((4, 4, 16, 16)), sampling("eps_sd15"))
    weights = found.weight(torch.zeros(4, 4, 16, 16)).expand(4, 1, 16, 16)
    assert weights[:, 0, 0, 0].tolist() == [row + 1.0 for row in rows]


def led(value: float, control: Control | None, *, shares: bool = True) -> Condition:
    """A condition under a control that is shared or not."""
    return condition(value, control=control, options={"control_apply_to_uncond": shares})


A, B = Control(), Control()


@pytest.mark.parametrize(
    ("mine", "others", "expected"),
    [
        ([0.0], [led(1.0, A)], [(0.0, A)]),
        ([0.0], [led(1.0, A), led(2.0, A)], [(0.0, A)]),
        ([0.0], [led(1.0, A), led(2.0, B)], [(0.0, A), (0.0, B)]),
        ([0.0, 5.0], [led(1.0, A)], [(0.0, A), (5.0, A)]),
        ([0.0], [led(1.0, A, shares=False)], [(0.0, None)]),
        ([0.0], [led(1.0, None)], [(0.0, None)]),
    ],
    ids=["one", "one of two texts", "two", "one for two", "not shared", "none"],
)
def test_every_shared_control_acts_on_the_other_side(
    mine: list[float], others: list[Condition], expected: list[tuple[float, Control | None]]
) -> None:
    found = with_controls([condition(value) for value in mine], others)
    assert [(float(each.context.mean()), each.control) for each in found] == expected


def test_a_side_under_a_control_of_its_own_keeps_it() -> None:
    own = condition(0.0, control=B)
    assert with_controls([own], [led(1.0, A)]) == [own]
