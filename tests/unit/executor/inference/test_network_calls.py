"""What network calls are given stays from step to step, layers make a text's keys and values once, and pixels stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from executor.inference import denoising
from executor.inference.checkpoint import Checkpoint
from executor.inference.conditions import Condition
from executor.inference.denoiser import ModelSampling, discrete_eps
from executor.inference.guidance import Guider
from executor.inference.handle import ModelHandle
from executor.inference.network_calls import KNOWN_CALLS, MOST_KNOWN, KnownCalls
from executor.inference.sample import sample
from executor.inference.text_products import Room, TextProducts
from executor.inference.unet_layers import CrossAttention

STEPS = 4
X = torch.zeros(2, 4, 16, 16)


@dataclass(frozen=True, kw_only=True)
class Remembering:
    """Answers with noise of its own and remembers the texts it was called with, and how it answered."""

    sampling: ModelSampling = field(default_factory=discrete_eps)
    contexts: list[Tensor] = field(default_factory=list)
    answers: list[Tensor] = field(default_factory=list)

    def apply(self, x: Tensor, sigma: Tensor, *, context: Tensor, **conditions: object) -> Tensor:
        self.contexts.append(context)
        self.answers.append(torch.randn(x.shape, generator=torch.Generator().manual_seed(len(self.answers))))
        return self.answers[-1]


def condition(value: float, **options: Any) -> Condition:
    return Condition(context=torch.full((1, 3, 4), value), **options)


def options(**more: object) -> dict[str, object]:
    return {KNOWN_CALLS: KnownCalls(), "transformer_options": {}, **more}


@torch.inference_mode()
def asked(guider: Guider, steps: int = STEPS, x: Tensor = X) -> None:
    for step in range(steps):
        guider(x, float(steps - step))


def test_steps_share_the_texts_they_are_given():
    model = Remembering()
    asked(Guider(model, [condition(3.0)], [condition(1.0)], 5.0, options()))
    assert all(context is model.contexts[0] for context in model.contexts)


def add_one(q: Tensor, k: Tensor, v: Tensor, options: object) -> tuple[Tensor, Tensor, Tensor]:
    k += 1.0
    return q, k, k


PACKS: dict[str, dict[str, object]] = {
    "patch": {"transformer_options": {"patches": {"attn2_patch": [add_one]}}},
    "wrapper": {"transformer_options": {"wrappers": {"apply_model": {None: [lambda *given: None]}}}},
    "around": {"model_function_wrapper": lambda network, given: network(given["input"], None, **given["c"])},
}


@pytest.mark.parametrize("pack", PACKS)
def test_code_of_packs_is_given_texts_of_its_own_at_every_step(pack: str):
    class Named(Remembering):
        def apply_model(self, x: Tensor, t: object, c_crossattn: Tensor, **given: object) -> Tensor:
            return self.apply(x, torch.zeros(1), context=c_crossattn)

    model = Named()
    asked(Guider(model, [condition(3.0)], [condition(1.0)], 5.0, options(**PACKS[pack])))
    assert len({id(context) for context in model.contexts}) == STEPS


def test_other_conditions_are_given_their_own_text():
    model = Remembering()
    early, late = condition(3.0, last_sigma=2.5), condition(4.0, first_sigma=2.5)
    asked(Guider(model, [early, late], [condition(1.0)], 5.0, options()))
    assert [context[0, 0, 0].item() for context in model.contexts] == [3.0, 3.0, 4.0, 4.0]


def test_other_latents_are_given_a_text_for_each_of_their_rows():
    model, known = Remembering(), options()
    guider = Guider(model, [condition(3.0)], [condition(1.0)], 5.0, known)
    asked(guider, 1)
    asked(guider, 1, torch.zeros(3, 4, 16, 16))
    assert [len(context) for context in model.contexts] == [4, 6]


def test_few_calls_are_kept():
    known = KnownCalls()
    for _ in range(MOST_KNOWN + 3):
        known.of([(0, condition(1.0))], X)
    assert len(known._kept) == MOST_KNOWN


def test_a_side_of_one_whole_condition_answers_what_the_network_did():
    model = Remembering()
    with torch.inference_mode():
        guided = Guider(model, [condition(3.0)], [condition(1.0)], 5.0, options()).both(X, 2.0)
    assert torch.equal(guided.unconditional, model.answers[0][2:])


@pytest.mark.parametrize("partly", [{"strength": 0.5}, {"mask": torch.full((1, 16, 16), 0.5)}])
def test_what_counts_in_part_is_weighed(partly: dict[str, Any]):
    model = Remembering()
    both = [condition(3.0, **partly), condition(2.0)]
    with torch.inference_mode():
        guided = Guider(model, both, [condition(1.0)], 1.0, options())(X, 2.0)
    torch.testing.assert_close(guided, (model.answers[0][:2] * 0.5 + model.answers[0][2:4]) / 1.5)


def test_sums_of_one_whole_condition_would_be_the_same_numbers(monkeypatch: pytest.MonkeyPatch):
    pictures = []
    for is_whole in (True, False):
        monkeypatch.setattr(Condition, "is_whole", is_whole)
        with torch.inference_mode():
            pictures.append(Guider(Remembering(), [condition(3.0)], [condition(1.0)], 5.0, options())(X, 2.0))
    assert torch.equal(*pictures)


# ---------------------------------------------------------------- keys and values of texts


def drawn(model: ModelHandle, scale: float = 1.0) -> Tensor:
    text = scale * torch.linspace(-1, 1, 77 * 32).reshape(1, 77, 32)
    settings: Any = {"seed": 1, "steps": STEPS, "sampler_name": "euler", "scheduler": "karras"}
    latent: Any = {"samples": torch.zeros(1, 4, 8, 8)}
    return sample(model, latent, cfg=2.0, positive=[[text, {}]], negative=[[-text, {}]], **settings)


@pytest.fixture
def products(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often keys of a text were made since it was asked last, by each layer."""
    model = tiny.model.model.diffusion_model
    layers = [each for each in model.modules() if isinstance(each, CrossAttention) and each.to_k.in_features == 32]
    keys, made = {each.to_k for each in layers}, []
    plain = nn.Linear.forward

    def counted(self: nn.Linear, x: Tensor) -> Tensor:
        if self in keys:
            made.append(self)
        return plain(self, x)

    monkeypatch.setattr(nn.Linear, "forward", counted)

    def told() -> int:
        count, rest = divmod(len(made), len(keys))
        assert rest == 0
        made.clear()
        return count

    return told


def test_keys_of_a_text_are_made_once_in_a_sampling(tiny: Checkpoint, products: Callable[[], int]):
    drawn(tiny.model)
    assert products() == 1


def test_the_picture_is_the_same_to_the_bit_as_with_keys_made_at_every_step(
    tiny: Checkpoint, products: Callable[[], int], monkeypatch: pytest.MonkeyPatch
):
    kept = drawn(tiny.model)
    products()
    monkeypatch.setattr(denoising, "KnownCalls", lambda: KnownCalls(Room(0)))
    assert torch.equal(drawn(tiny.model), kept)
    assert products() == STEPS


def test_another_text_is_another_picture(tiny: Checkpoint):
    assert not torch.equal(drawn(tiny.model), drawn(tiny.model, scale=2.0))


def test_keys_are_made_anew_under_patches(tiny: Checkpoint, products: Callable[[], int]):
    patched = tiny.model.clone()
    patched.set_model_attn2_patch(lambda q, k, v, options: (q, k, v))
    drawn(patched)
    assert products() == STEPS


def test_keys_are_made_anew_by_layers_with_hooks_of_a_pack(tiny: Checkpoint, products: Callable[[], int]):
    handle = next(tiny.model.model.diffusion_model.children()).register_forward_hook(lambda *given: None)
    drawn(tiny.model)
    handle.remove()
    assert products() == STEPS


def test_a_lora_is_seen(tiny: Checkpoint):
    plain, changed = drawn(tiny.model), tiny.model.clone()
    [name] = [key for key in changed.named_weights() if key.endswith("attn2.to_v.weight")][:1]
    changed.add_patches({name: (torch.ones_like(changed.named_weights()[name]),)})
    assert not torch.equal(drawn(changed), plain)
    assert torch.equal(drawn(tiny.model), plain)


def test_weights_that_change_void_what_was_made():
    layer, text, products = CrossAttention(8, 4, 2), torch.ones(1, 3, 4), TextProducts(Room())
    before = products.under(1).of(layer, text)
    assert products.under(1).of(layer, text) is before
    assert products.under(2).of(layer, text) is not before


def test_no_more_is_kept_than_there_is_room():
    layers, text, room = [CrossAttention(8, 4, 2) for _ in range(3)], torch.ones(1, 3, 4), Room(2 * 2 * 3 * 8 * 4)
    products = TextProducts(room)
    kept = [products.of(layer, text) for layer in layers]
    assert [products.of(layer, text) is each for layer, each in zip(layers, kept, strict=True)] == [True, True, False]
    products.forget()
    assert room.left == 2 * 2 * 3 * 8 * 4


def test_room_is_counted_when_the_model_is_loaded(tiny: Checkpoint):
    model, shape = tiny.model, torch.Size((2, 4, 8, 8))
    layers = [each for each in model.model.diffusion_model.modules() if isinstance(each, CrossAttention)]
    widths = sum(each.to_k.out_features for each in layers if each.to_k.in_features == 32)
    model.load(shape)
    model.load(shape)  # only now it is known in which type it computes
    assert model.model.text_bytes(shape) == 2 * 2 * 77 * widths * 4
    assert model.memory.asked is not None
    assert model.memory.asked.working == model.model.working_bytes(shape) + model.model.text_bytes(shape)
