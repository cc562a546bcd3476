"""Heun's trapezoidal methods and midpoint steps in log sigma. Knows no multistep method."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from executor.inference.noise import NoiseSource
from executor.inference.samplers.base import Callback, Model, Sigmas, ancestral_split, silent, slope

# Further levels at which `heunpp2` takes a slope.
LOOK_AHEAD = 2


def heun(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent) -> Tensor:
    """Mean of the slopes at both ends; Euler into zero (Karras et al. 2022, arXiv:2206.00364, alg. 1)."""
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        start = slope(x, sigma, denoised)
        reached = x + start * (sigma_next - sigma)
        if sigma_next > 0:
            end = slope(reached, sigma_next, model(reached, sigma_next))
            reached = x + (start + end) * (0.5 * (sigma_next - sigma))
        x = reached
    return x


def heunpp2(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent) -> Tensor:
    """Heun with up to two steps of look-ahead and weighted slopes (Li et al. 2023, arXiv:2312.05270).

    Of n slopes a later one weighs sigma_there / (n sigma_first), the first one the rest; none is taken at the last
    level (recorded behaviour: numeric/samplers_trace, cases eps/heunpp2 and flow/heunpp2).
    """
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        slopes, reached, level = [slope(x, sigma, denoised)], x, sigma
        ahead = [later for later in sigmas[step + 1 : step + 1 + LOOK_AHEAD] if later != sigmas[-1]]
        for later in ahead:
            reached = reached + slopes[-1] * (later - level)
            slopes.append(slope(reached, later, model(reached, later)))
            level = later
        mixed = slopes[0]
        for later, other in zip(ahead, slopes[1:], strict=True):
            mixed = mixed + (other - slopes[0]) * (later / (len(slopes) * sigmas[0]))
        x = x + mixed * (sigma_next - sigma)
    return x


def dpm_2(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent) -> Tensor:
    """Slope at the geometric middle of each step (Lu et al. 2022, arXiv:2206.00927, DPM-Solver-2 on sigmas)."""
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        x = _midpoint(model, x, sigma, sigma_next, slope(x, sigma, denoised))
    return x


def dpm_2_ancestral(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """`dpm_2` below the next noise level, then fresh noise up to it."""
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        split = ancestral_split(model.sampling, sigma, sigma_next, eta)
        x = _midpoint(model, x, sigma, split.down, slope(x, sigma, denoised))
        x = split.renewed(x, noise, sigma, sigma_next, s_noise)
    return x


def _midpoint(model: Model, x: Tensor, sigma: float, target: float, start: Tensor) -> Tensor:
    if target == 0:
        return x - start * sigma
    middle = math.sqrt(sigma * target)
    halfway = x + start * (middle - sigma)
    return x + slope(halfway, middle, model(halfway, middle)) * (target - sigma)
