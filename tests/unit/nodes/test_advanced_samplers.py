"""SamplerEulerCFGpp, SamplerLCMUpscale and the nodes that make operations, through the node contract."""

from __future__ import annotations

import pytest
import torch

from executor.inference.denoising import Guidance, sample_sigmas
from executor.inference.handle_options import ModelOptions
from executor.inference.noise import prepare_noise
from nodes.builtin.advanced_samplers import SamplerEulerCFGpp, SamplerLCMUpscale
from nodes.builtin.guidance_patches import APG
from nodes.builtin.inpaint import DifferentialDiffusion
from nodes.builtin.latent_operations import (
    LatentApplyOperation,
    LatentApplyOperationCFG,
    LatentOperationSharpen,
    LatentOperationTonemapReinhard,
)
from nodes.builtin.post_processing import ImageSharpen
from tests.maths.recordings import ToyHandle, tensors, toy_handle


class Patchable(ToyHandle, ModelOptions):
    """A toy model that nodes may patch."""

    def clone(self):
        """A copy with options of its own."""
        return Patchable(model=self.model, model_options=dict(self.model_options))


@pytest.fixture
def model() -> Patchable:
    return Patchable(model=toy_handle("eps_sd15").model)


def drawn(model: Patchable, method) -> torch.Tensor:
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    sides = {side: [[tensors("guiders")[f"in/{side}"], {}]] for side in ("positive", "negative")}
    noise, sigmas = prepare_noise(latent["samples"], 1), tensors("guiders")["in/sigmas"]
    return sample_sigmas(model, latent, noise, sigmas, method, Guidance(cfg=4.0, **sides), seed=1)[0]


def test_both_versions_of_euler_cfg_pp_draw_and_differ(model):
    first, second = (
        drawn(model, SamplerEulerCFGpp().get_sampler(version)[0]) for version in ("regular", "alternative")
    )
    assert torch.isfinite(second).all()
    assert not torch.allclose(first, second, atol=1e-2)


@pytest.mark.parametrize(
    ("ratio", "steps", "size"), [(1.0, -1, 8), (1.5, -1, 12), (2.0, 1, 16), (0.5, 3, 4), (2.0, 0, 8)]
)
def test_lcm_ends_at_its_size(model, ratio, steps, size):
    [method] = SamplerLCMUpscale().get_sampler(ratio, steps, "bilinear")
    assert drawn(model, method).shape == (1, 4, size, size)


def test_an_operation_is_applied_to_latents_and_leaves_the_given_ones():
    samples = torch.arange(64.0).reshape(1, 4, 4, 4)
    [operation] = LatentOperationTonemapReinhard().op(1.0)
    [found] = LatentApplyOperation().op({"samples": samples}, operation)
    assert (found["samples"].norm(dim=1) < samples.norm(dim=1)).all()
    assert torch.equal(samples, torch.arange(64.0).reshape(1, 4, 4, 4))


def test_an_operation_within_guidance_changes_the_picture(model):
    [method] = SamplerEulerCFGpp().get_sampler("regular")
    [operation] = LatentOperationTonemapReinhard().op(1.0)
    [changed] = LatentApplyOperationCFG().patch(model, operation)
    assert not torch.allclose(drawn(changed, method), drawn(model, method), atol=1e-3)


def test_a_sharpening_operation_keeps_the_lengths_of_cells():
    samples = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    [operation] = LatentOperationSharpen().op(1, 1.0, 0.0)
    assert torch.allclose(operation(latent=samples), samples, atol=1e-6)


def test_projected_guidance_and_soft_masks_are_put_on_a_clone(model):
    [guided] = APG().patch(model, 0.5, 3.0, 0.0)
    [masked] = DifferentialDiffusion().apply(model)
    assert "denoise_mask_function" in masked.model_options
    assert model.model_options == {}
    assert guided.model_options["sampler_pre_cfg_function"]


def test_sharpened_pictures_stay_within_white_and_black():
    picture = torch.rand(1, 9, 9, 3, generator=torch.Generator().manual_seed(1))
    [found] = ImageSharpen().sharpen(picture, 1, 1.0, 5.0)
    assert (found.min(), found.max()) == (0.0, 1.0)
