"""Every sampler on a problem with a known solution: data of one Gaussian, whose denoiser is linear.

A sampler added to the table is tested here by itself.
"""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from executor.inference.denoiser import ModelSampling, discrete_eps
from executor.inference.samplers import SAMPLER_NAMES, Guided, Noise, sampler
from executor.inference.schedules import ksampler_sigmas

MEAN, VARIANCE = 0.7, 0.25
STEPS, PATH_STEPS = 120, 40  # a Brownian path is slow to query, and its samplers are of second order
# A consistency sampler wants a model that jumps to the end of the path.
JUMPING = {"lcm"}
SPREAD_BOUND = 0.06
# Its correction sets an answer against one of another noise level, a bias that more steps do not remove.
WIDER_SPREAD_BOUNDS = {"dpmpp_2s_ancestral_cfg_pp": 0.25}


@dataclass(frozen=True, kw_only=True)
class GaussianModel:
    """The ideal denoiser of data drawn from N(MEAN, VARIANCE), or its ideal consistency function."""

    sampling: ModelSampling
    jumping: bool = False

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        if self.jumping:
            return solution(x, sigma)
        return MEAN + VARIANCE / (VARIANCE + sigma**2) * (x - MEAN)

    def both(self, x: Tensor, sigma: float) -> Guided:
        denoised = self(x, sigma)
        return Guided(denoised, denoised)


def solution(x: Tensor, sigma: float) -> Tensor:
    """Where the probability-flow ODE takes x from sigma to zero."""
    return MEAN + (x - MEAN) * (VARIANCE / (VARIANCE + sigma**2)) ** 0.5


def run(name: str, *, seed: int) -> tuple[Tensor, Tensor]:
    """The sampled latents, and what the ODE would have made of the same start."""
    model = GaussianModel(sampling=discrete_eps(), jumping=name in JUMPING)
    steps = PATH_STEPS if sampler(name).noise in (Noise.PATH, Noise.DEVICE_PATH) else STEPS
    sigmas = ksampler_sigmas(model.sampling, "karras", name, steps).tolist()
    noise = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    x = MEAN + noise * (sigmas[0] ** 2 + VARIANCE) ** 0.5
    return sampler(name).run(model, x, sigmas, seed=seed), solution(x, sigmas[0])


# draws noise only where its eta is not zero
WITHOUT_NOISE = [name for name in SAMPLER_NAMES if sampler(name).noise is Noise.NONE or name == "dpm_adaptive"]


@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_samples_have_the_mean_and_spread_of_the_data(name: str) -> None:
    samples, _ = run(name, seed=3)
    assert samples.mean().item() == pytest.approx(MEAN, abs=0.03)
    assert samples.std().item() == pytest.approx(VARIANCE**0.5, rel=WIDER_SPREAD_BOUNDS.get(name, SPREAD_BOUND))


@pytest.mark.parametrize("name", WITHOUT_NOISE)
def test_a_deterministic_sampler_ends_where_the_ode_does(name: str) -> None:
    samples, expected = run(name, seed=0)
    assert (samples - expected).abs().max() < 0.1
