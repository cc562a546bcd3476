"""Linear multistep methods: the slopes of past steps, extended over the next one. Knows no noise and no log SNR."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

from torch import Tensor

from executor.inference.samplers.base import Callback, Model, Sigmas, silent, slope
from executor.inference.samplers.integrals import Function, difference_weights, integral, interpolation_weights

Weights = Callable[[Sequence[float], float], Sequence[float]]
"""Weights of the slopes at past sigmas, newest first, in a step from the newest of them to another sigma."""

# Pieces in which a step is integrated where past slopes follow another clock than sigma.
CLOCK_PIECES = 32


def exact(past: Sequence[float], sigma_next: float) -> list[float]:
    """Adams-Bashforth on the sigmas as they are."""
    return interpolation_weights(past, past[0], sigma_next)


def as_if_even(past: Sequence[float], sigma_next: float) -> list[float]:
    """Adams-Bashforth as if all past steps had been as wide as the next one (23/12, -16/12, 5/12 and so on)."""
    width = sigma_next - past[0]
    return interpolation_weights([past[0] - width * back for back in range(len(past))], past[0], sigma_next)


def recorded_uneven(past: Sequence[float], sigma_next: float) -> list[float]:
    """Newton's form of `exact`, with three terms that differ from it as the recordings do.

    With steps h, h1, h2, h3 (newest first) the integral over the step of (s + 0)(s + h1)... is the weight of a
    divided difference. Recorded behaviour: numeric/samplers_trace, cases eps/ipndm_v and flow/ipndm_v, where solving
    each step for its weights (x0 reproduced to 1e-6) gives
    - second difference: h h1 (h1 + h2) / 2 - h^3 / 6 instead of h^2 h1 / 2 + h^3 / 3 (equal on even steps);
    - third difference: h^3 (h + 2 h1) / 6 more than the integral;
    - the oldest slope's part of the third difference: h1 h3 / h2^2 times its own (equal where steps grow evenly).
    """
    start, step = past[0], sigma_next - past[0]
    widths = [newer - older for newer, older in pairwise(past)]
    weights = [0.0] * len(past)
    for order in range(len(past)):
        gain = _newton_integral(past[:order], start, sigma_next)
        parts = difference_weights(past[: order + 1])
        if order == 2:
            gain = step * widths[0] * (widths[0] + widths[1]) / 2 - step**3 / 6
        if order == 3:
            gain += step**3 * (step + 2 * widths[0]) / 6
            parts[3] *= widths[0] * widths[2] / widths[1] ** 2
        for place, part in enumerate(parts):
            weights[place] += gain * part
    return weights


def _newton_integral(roots: Sequence[float], start: float, end: float) -> float:
    return integral(lambda now: math.prod(now - root for root in roots), start, end)


def _multistep(
    model: Model, x: Tensor, sigmas: Sigmas, callback: Callback, order: int, weights_of: Weights, *, shows_start: bool
) -> Tensor:
    """Steps of up to `order` slopes; `shows_start` reports the first latent at every step, as recorded for some."""
    start, slopes = x, list[Tensor]()
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma)
        callback(step, start if shows_start else x, denoised)
        if sigma_next == 0:
            return denoised
        slopes = [slope(x, sigma, denoised), *slopes[: order - 1]]
        past = [sigmas[step - back] for back in range(len(slopes))]
        parts = (each * weight for each, weight in zip(slopes, weights_of(past, sigma_next), strict=True))
        *_, x = accumulate(parts, initial=x)
    return x


def lms(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent, order: int = 4) -> Tensor:
    """Adams-Bashforth on uneven sigmas: the polynomial through past slopes, integrated exactly."""
    return _multistep(model, x, sigmas, callback, order, exact, shows_start=False)


def ipndm(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent, order: int = 4) -> Tensor:
    """Adams-Bashforth with the weights of even steps (Zhang & Chen 2022, arXiv:2204.13902, iPNDM)."""
    return _multistep(model, x, sigmas, callback, order, as_if_even, shows_start=True)


def ipndm_v(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent, order: int = 4) -> Tensor:
    """iPNDM for steps of differing width, with the weights found in recordings (`recorded_uneven`)."""
    return _multistep(model, x, sigmas, callback, order, recorded_uneven, shows_start=True)


def deis(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent, order: int = 3) -> Tensor:
    """Slopes interpolated in the time of a variance-preserving diffusion (Zhang & Chen 2022, arXiv:2204.13902)."""
    clock = vp_time()

    def weights_of(past: Sequence[float], sigma_next: float) -> list[float]:
        times = [clock(sigma) for sigma in past]
        return interpolation_weights(times, past[0], sigma_next, clock=clock, pieces=CLOCK_PIECES)

    return _multistep(model, x, sigmas, callback, order, weights_of, shows_start=True)


def vp_time() -> Function:
    """Time of the linear-beta variance-preserving diffusion (Karras et al. 2022, arXiv:2206.00364, eq. 17)."""
    low, high, start = 0.002, 80.0, 1e-3
    slope_beta = 2 * (math.log(low**2 + 1) / start - math.log(high**2 + 1)) / (start - 1)
    first_beta = math.log(high**2 + 1) - 0.5 * slope_beta

    def clock(sigma: float) -> float:
        return (math.sqrt(first_beta**2 + 2 * slope_beta * math.log(sigma**2 + 1)) - first_beta) / slope_beta

    return clock
