"""Latents that sampling has to refuse or to bear: of another kind, none, too large, no numbers, under odd masks."""

from __future__ import annotations

import pytest
import torch

from executor.context import InterruptFlag, RunContext, entered
from executor.errors import Interrupted, NodeInputError
from executor.inference import attention, devices, handle
from executor.inference.checkpoint import load_checkpoint
from executor.inference.memory import Memory
from executor.inference.noise import prepare_noise
from executor.inference.sample import sample
from executor.inference.samplers import SAMPLERS
from tests.maths.recordings import toy_handle
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

TEXT = torch.linspace(-1, 1, 12).reshape(1, 3, 4)
SETTINGS = {"seed": 1, "steps": 3, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"}


def run(samples, model=None, text=TEXT, mask=None, **changes):
    latent = {"samples": samples} if mask is None else {"samples": samples, "noise_mask": mask}
    sides = {"positive": [[text, {}]], "negative": [[-text, {}]]}
    return sample(model or toy_handle("eps_sd15"), latent, **{**SETTINGS, **sides, **changes})


@pytest.mark.parametrize("model", ["eps_sd15", "sd3_shift3"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_latents_that_are_no_numbers_end_like_others(sampler, model):
    samples = torch.ones(1, 4, 4, 4)
    samples[0, 0, 0, 0] = torch.nan
    toy = toy_handle(model)
    assert run(samples, toy, sampler_name=sampler).isnan().any()
    assert run(torch.ones(1, 4, 4, 4), toy, sampler_name=sampler).isfinite().all()


def test_no_steps_leave_latents_as_they_are():
    samples = torch.randn(1, 4, 4, 4)
    assert torch.equal(run(samples, steps=0), samples)


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (3, 17, 5), (1, 1, 1, 1), (64, 64), (5, 8, 8)])
def test_a_mask_of_any_size_and_number_is_fitted(shape):
    samples = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(run(samples, mask=torch.zeros(shape)), samples, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 16, 8, 8), r"16 channels, but the model works on 4 \(SD15\)"),
        ((1, 4, 3, 8, 8), r"shape \[1, 4, 3, 8, 8\], but the model works on 4 dimensions"),
        ((1, 4, 100), r"shape \[1, 4, 100\], but the model works on 4 dimensions"),
        ((0, 4, 8, 8), "empty batch"),
    ],
)
def test_latents_of_another_kind_are_refused_in_words(shape, words):
    with pytest.raises(NodeInputError, match=words):
        run(torch.ones(shape))


def test_noise_that_no_memory_holds_is_refused_before_it_is_drawn(monkeypatch):
    monkeypatch.setattr(devices, "free_bytes", lambda device: 1000)
    with pytest.raises(NodeInputError, match=r"\[1, 4, 64, 64\] takes at least 0.0 GB.*choose a smaller picture"):
        prepare_noise(torch.zeros(1, 4, 64, 64), 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of few weights."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    sizes = TinySizes(vocabulary=9, widths=(8, 16), attends=(True, True), text_layers=1, vae_widths=(4, 4))
    return load_checkpoint(write_tiny_checkpoint(path, sizes), Memory(mode="cpu")).model


def drawn(model, samples):
    return run(samples, model, torch.zeros(1, 3, model.model.text_width))


def test_a_picture_that_no_memory_holds_is_refused_and_the_next_one_drawn(model, monkeypatch):
    with monkeypatch.context() as small:
        small.setattr(handle, "free_bytes", lambda device: 1 << 20)
        with pytest.raises(
            NodeInputError, match=r"2 latents of 1024 x 512 pixels .* need about 0.0 GB.*0.0 GB are free"
        ):
            drawn(model, torch.zeros(1, 4, 64, 128))
    assert drawn(model, torch.zeros(1, 4, 8, 8)).isfinite().all()


def test_an_interrupt_ends_a_network_call_within(model):
    flag = InterruptFlag()
    hooks = [model.model.diffusion_model.input_blocks[0].register_forward_hook(lambda *ignored: flag.set())]
    hooks.append(model.model.diffusion_model.out.register_forward_hook(lambda *ignored: pytest.fail("went on")))
    try:
        with entered(RunContext(interrupt=flag)), pytest.raises(Interrupted):
            drawn(model, torch.zeros(1, 4, 8, 8))
    finally:
        for hook in hooks:
            hook.remove()
    assert drawn(model, torch.zeros(1, 4, 8, 8)).isfinite().all()


def test_long_attention_goes_part_by_part_and_may_be_stopped(monkeypatch):
    q, k, v = torch.randn(3, 2, 50, 8)
    whole = attention.mixed_by_torch(q, k, v, 2)
    monkeypatch.setattr(attention, "MOST_SCORES", 1000)
    torch.testing.assert_close(attention.mixed_by_torch(q, k, v, 2), whole)
    flag = InterruptFlag()
    flag.set()
    with entered(RunContext(interrupt=flag)), pytest.raises(Interrupted):
        attention.mixed_by_torch(q, k, v, 2)
