"""The one sampling entry: progress, previews, interrupts, and latents that do not fit."""

from dataclasses import dataclass, field, replace

import pytest
import torch

from executor.context import InterruptFlag, Preview, RunContext, entered
from executor.errors import Interrupted, NodeInputError, UnknownName
from executor.inference.sample import sample
from tests.maths.recordings import toy_handle

EMBEDDING = torch.linspace(-1, 1, 12).reshape(1, 3, 4)


@dataclass
class Steps:
    """Remembers each reported step."""

    seen: list[tuple[float, float]] = field(default_factory=list)
    previews: list[Preview | None] = field(default_factory=list)

    def advance(self, node_id: str, value: float, total: float, preview: Preview | None) -> None:
        self.seen.append((value, total))
        self.previews.append(preview)

    def text(self, node_id: str, message: str) -> None:
        raise AssertionError("sampling writes no text")


def run(shape: tuple[int, ...] = (1, 4, 8, 8), **changes: object) -> torch.Tensor:
    settings = {
        "seed": 1,
        "steps": 4,
        "cfg": 3.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "positive": [[EMBEDDING, {}]],
        "negative": [[-EMBEDDING, {}]],
    }
    latent = changes.pop("latent", {"samples": torch.zeros(shape)})
    return sample(toy_handle("eps_sd15"), latent, **{**settings, **changes})


def test_every_step_is_reported() -> None:
    steps = Steps()
    with entered(RunContext(sink=steps)):
        run()
    assert steps.seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_each_step_has_a_picture_to_show() -> None:
    steps = Steps()
    with entered(RunContext(sink=steps)):
        run(shape=(1, 4, 6, 9))
    assert steps.previews[-1].image().size == (9, 6)


def test_an_interrupt_ends_sampling_at_the_next_step() -> None:
    flag, steps = InterruptFlag(), Steps()
    flag.set()
    with entered(RunContext(sink=steps, interrupt=flag)), pytest.raises(Interrupted):
        run()
    assert steps.seen == []


def test_the_same_seed_draws_the_same_latents() -> None:
    assert torch.equal(run(sampler_name="dpmpp_2m_sde"), run(sampler_name="dpmpp_2m_sde"))


def test_another_seed_draws_other_latents() -> None:
    assert not torch.equal(run(seed=1), run(seed=2))


def test_an_empty_latent_of_another_model_gets_the_channels_of_this_one() -> None:
    assert run(shape=(1, 16, 8, 8)).shape == (1, 4, 8, 8)


def test_a_picture_of_another_model_is_refused() -> None:
    with pytest.raises(NodeInputError, match="16 channels, but the model works on 4"):
        run(latent={"samples": torch.ones(1, 16, 8, 8)})


def test_no_denoise_returns_the_latent_itself() -> None:
    latent = {"samples": torch.ones(1, 4, 8, 8)}
    assert run(latent=latent, denoise=0.0) is latent["samples"]


def test_a_window_behind_the_last_step_returns_the_latent_itself() -> None:
    latent = {"samples": torch.ones(1, 4, 8, 8)}
    assert run(latent=latent, start_step=9) is latent["samples"]


def test_the_kept_part_of_a_picture_stays_as_it_was() -> None:
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1
    latent = {"samples": torch.full((1, 4, 8, 8), 2.0), "noise_mask": mask}
    assert torch.allclose(run(latent=latent)[..., :3], torch.full((1, 4, 8, 3), 2.0), atol=1e-5)


def test_a_mask_of_the_first_picture_serves_the_whole_batch() -> None:
    latent = {"samples": torch.full((3, 4, 8, 8), 2.0), "noise_mask": torch.zeros(1, 64, 64)}
    assert torch.allclose(run(latent=latent), latent["samples"], atol=1e-5)


def test_a_pack_may_set_the_mask_by_noise_level() -> None:
    handle = toy_handle("eps_sd15")
    nothing = {"denoise_mask_function": lambda sigma, mask, extra: torch.zeros_like(mask)}
    latent = {"samples": torch.full((1, 4, 8, 8), 2.0), "noise_mask": torch.ones(1, 64, 64)}
    samples = sample(
        replace(handle, model_options=nothing),
        latent,
        seed=1,
        steps=3,
        cfg=1.0,
        sampler_name="euler",
        scheduler="normal",
        positive=[[EMBEDDING, {}]],
        negative=[],
    )
    assert torch.allclose(samples, latent["samples"], atol=1e-5)


def test_an_unknown_sampler_is_refused_before_any_work() -> None:
    with pytest.raises(UnknownName, match="there is no sampler 'eulr'"):
        run(sampler_name="eulr")
