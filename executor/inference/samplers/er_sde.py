"""Extended reverse-time SDE solvers (Cui et al. 2023, arXiv:2309.06169). Knows no Brownian path."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from executor.inference.noise import NoiseSource
from executor.inference.samplers.base import Callback, Model, Sigmas, finite_snr, silent, toward

NoiseScale = Callable[[float], float]
"""How much of the noise at a noise-to-signal ratio is kept; the ratio itself gives the ODE."""

QUADRATURE_POINTS = 200


def er_sde_noise(ratio: float) -> float:
    """The scale the paper found best (its ER-SDE 5)."""
    return ratio * (math.exp(ratio**0.3) + 10.0)


def er_sde(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    s_noise: float = 1.0,
    noise_scale: NoiseScale = er_sde_noise,
    max_stage: int = 3,
) -> Tensor:
    """Up to third order in divided differences of the denoised latent (alg. 1 to 3 of the paper)."""
    sampling = model.sampling
    levels = finite_snr(sampling, sigmas)
    ratios = [sigma / sampling.alpha(sigma) for sigma in levels]
    before: Tensor | None = None
    slope_before: Tensor | None = None
    for step, (sigma, sigma_next) in enumerate(pairwise(levels)):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        if sigma_next == 0:
            return denoised
        ratio, ratio_next = ratios[step], ratios[step + 1]
        alpha, alpha_next = sampling.alpha(sigma), sampling.alpha(sigma_next)
        scale_next = noise_scale(ratio_next)
        kept = scale_next / noise_scale(ratio)
        x = toward(x / alpha, denoised, kept) * alpha_next
        if before is not None and max_stage >= 2:
            width = ratio_next - ratio
            plain, weighted = _inverse_scale_integrals(noise_scale, ratio, ratio_next)
            slope = (denoised - before) / (ratio - ratios[step - 1])
            x = x + slope * (alpha_next * (width + plain * scale_next))
            if slope_before is not None and max_stage >= 3:
                bend = (slope - slope_before) / ((ratio - ratios[step - 2]) / 2)
                x = x + bend * (alpha_next * (width**2 / 2 + weighted * scale_next))
            slope_before = slope
        if s_noise > 0:
            variance = ratio_next**2 - ratio**2 * kept**2
            x = x + noise(sigma, sigma_next) * (alpha_next * s_noise * math.sqrt(max(variance, 0.0)))
        before = denoised
    return x


def _inverse_scale_integrals(noise_scale: NoiseScale, ratio: float, ratio_next: float) -> tuple[float, float]:
    """Integrals of 1 / scale and of (ratio' - ratio) / scale over ratio' from ratio_next up to ratio, by left sums.

    Recorded behaviour: exact integrals miss numeric/samplers_variants, case eps/er_sde/cfg1, by 6e-4.
    """
    width = (ratio - ratio_next) / QUADRATURE_POINTS
    points = [ratio_next + index * width for index in range(QUADRATURE_POINTS)]
    plain = sum(1 / noise_scale(point) for point in points) * width
    weighted = sum((point - ratio) / noise_scale(point) for point in points) * width
    return plain, weighted
