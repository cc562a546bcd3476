"""Guidance by parts of the answers: against the recordings, and what it does to sides that are easy to see through."""

from __future__ import annotations

import pytest
import torch

from executor.inference.denoising import Guidance, sample_sigmas
from executor.inference.guidance_parts import along_shared, by_waves, scaled_waves
from executor.inference.handle_options import ModelOptions
from executor.inference.noise import prepare_noise
from executor.inference.samplers import sampler
from nodes.builtin.guidance_patches import TCFG, EpsilonScaling, FreSca
from tests.maths.recordings import ToyHandle, cases, error, tensors, toy_handle

SEED = 12345
NODES = {"tcfg": TCFG, "epsilon_scaling": EpsilonScaling}


class Patchable(ToyHandle, ModelOptions):
    """A toy model that nodes may patch."""

    def clone(self):
        """A copy with options of its own."""
        return Patchable(model=self.model, model_options=dict(self.model_options))


@pytest.mark.parametrize("name", NODES)
def test_a_run_under_a_node_is_the_recorded_one(name):
    case = cases("guiders")[name]
    [changed] = NODES[name]().patch(Patchable(model=toy_handle("eps_sd15").model), **case["inputs"])
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    sides = {side: [[tensors("guiders")[f"in/{side}"], {}]] for side in ("positive", "negative")}
    noise, sigmas = prepare_noise(latent["samples"], SEED), tensors("guiders")["in/sigmas"]
    guidance = Guidance(cfg=case["cfg"], **sides)
    found = sample_sigmas(changed, latent, noise, sigmas, sampler("euler"), guidance, seed=SEED)
    for part, mine in zip(("out", "denoised"), found, strict=True):
        assert error(mine, tensors("guiders")[f"{name}/{part}"]) <= 1e-4


def test_negative_noise_keeps_what_lies_along_the_shared_direction():
    x = torch.zeros(2, 1, 1, 2)
    cond = torch.tensor([[-10.0, 0.0], [0.0, -10.0]]).reshape(x.shape)  # noise (10, 0) and (0, 10)
    uncond = torch.tensor([[-1.0, -1.0], [-1.0, -1.0]]).reshape(x.shape)
    kept, damped = along_shared({"conds_out": [cond, uncond], "input": x})
    assert torch.equal(kept, cond)
    torch.testing.assert_close(damped.flatten(1).abs().argmax(dim=1), torch.tensor([0, 1]))
    assert damped.flatten(1).abs().amin(dim=1).max() < 0.12  # across: of the 1 that was there, hardly any is left


@pytest.mark.parametrize("change", [along_shared, by_waves(2.0, 3.0, 2)])
def test_one_side_alone_stays_as_it_is(change):
    answer = torch.randn(1, 4, 4, 4)
    [found] = change({"conds_out": [answer], "input": torch.randn(1, 4, 4, 4)})
    assert found is answer


@pytest.mark.parametrize(("periods", "scale"), [(0, 2.0), (2, 2.0), (3, 5.0), (4, 5.0)])
def test_waves_are_scaled_by_how_often_they_go_up_and_down(periods, scale):
    wave = torch.cos(2 * torch.pi * periods * torch.arange(8) / 8).expand(1, 1, 8, 8)
    torch.testing.assert_close(scaled_waves(wave, 2.0, 5.0, 3), wave * scale, rtol=1e-5, atol=1e-5)


def test_waves_of_equal_scales_are_a_longer_push():
    cond, uncond = torch.randn(2, 1, 4, 6, 5)
    [changed] = FreSca().patch(Patchable(model=toy_handle("eps_sd15").model), 2.0, 2.0, 3)
    [hook] = changed.model_options["sampler_pre_cfg_function"]
    positive, negative = hook({"conds_out": [cond, uncond]})
    torch.testing.assert_close(positive, uncond + 2.0 * (cond - uncond), rtol=1e-5, atol=1e-5)
    assert negative is uncond
