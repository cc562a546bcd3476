"""Chains that go to the denoised latent and noise it again: DDPM and consistency sampling. Solves no ODE."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from executor.inference.noise import Following, NoiseSource
from executor.inference.pixels import common_upscale
from executor.inference.samplers.base import Callback, Model, Sigmas, rounded_variance, silent, slope


def ddpm(model: Model, x: Tensor, sigmas: Sigmas, *, noise: NoiseSource, callback: Callback = silent) -> Tensor:
    """The ancestral chain of Ho et al. 2020, arXiv:2006.11239, alg. 2, on x / sqrt(1 + sigma^2).

    The mean is (x - beta eps / sqrt(1 - bar)) / sqrt(1 - beta), where beta = 1 - bar / bar_next is the paper's, and
    the variance beta (1 - bar_next) / (1 - bar) (its eq. 7). In exact numbers that is `euler_ancestral` of a model
    that predicts noise; all models are noised in this way.
    """
    variances = [rounded_variance(sigma) for sigma in sigmas]
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        bar, bar_next = 1.0 / variances[step], 1.0 / variances[step + 1]
        beta = 1.0 - bar / bar_next
        eps = slope(x, sigma, denoised)
        x = (x * math.sqrt(bar) - eps * (beta / math.sqrt(1.0 - bar))) / math.sqrt(1.0 - beta)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * math.sqrt(beta * (1.0 - bar_next) / (1.0 - bar))
            x = x / math.sqrt(bar_next)
    return x


def lcm(model: Model, x: Tensor, sigmas: Sigmas, *, noise: NoiseSource, callback: Callback = silent) -> Tensor:
    """Denoise, noise to the next level, repeat (Luo et al. 2023, arXiv:2310.04378, alg. 3)."""
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        x = denoised
        if sigma_next > 0:
            x = model.sampling.noise_scaling(sigma_next, noise(sigma, sigma_next), denoised)
    return x


def lcm_growing(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: Following,
    callback: Callback = silent,
    ratio: float = 1.0,
    growing_steps: int = -1,
    method: str = "bislerp",
) -> Tensor:
    """`lcm` on latents [B, C, H, W] that grow to `ratio` times their size in the first `growing_steps` steps.

    A negative number is half of all steps, each size is rounded from a straight line, and the denoised latent is
    resized before its noise: recorded behaviour, numeric/guiders case SamplerLCMUpscale/18, which no other of 1,000
    such plans meets.
    """
    height, width = x.shape[-2:]
    growing = (len(sigmas) - 1) // 2 if growing_steps < 0 else growing_steps
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        x = denoised
        if step < growing:
            scale = 1.0 + (ratio - 1.0) * (step + 1) / growing
            x = common_upscale(x, round(width * scale), round(height * scale), method, "disabled")
        if sigma_next > 0:
            x = model.sampling.noise_scaling(sigma_next, noise(x), x)
    return x
