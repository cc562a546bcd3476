"""Euler's method and its ancestral form. Knows no other method."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from executor.inference.noise import NoiseSource
from executor.inference.samplers.base import Callback, Model, Sigmas, ancestral_split, silent, slope, toward


def euler(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent) -> Tensor:
    """One evaluation per step along the slope (Karras et al. 2022, arXiv:2206.00364, alg. 1 without its correction).

    For data + sigma noise that is DDIM without fresh noise too (Song et al. 2021, arXiv:2010.02502, eq. 14).
    """
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        x = x + slope(x, sigma, denoised) * (sigma_next - sigma)
    return x


def euler_ancestral(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Euler below the next noise level, then fresh noise up to it (`ancestral_split`)."""
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        split = ancestral_split(model.sampling, sigma, sigma_next, eta)
        x = split.renewed(toward(x, denoised, split.down / sigma), noise, sigma, sigma_next, s_noise)
    return x
