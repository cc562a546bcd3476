"""Multistep methods that refine an Euler step with the last answer: RES and gradient estimation."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from executor.inference.noise import NoiseSource
from executor.inference.samplers.base import (
    Callback,
    Guided,
    Model,
    Sigmas,
    Split,
    silent,
    slope,
    toward,
    variance_split,
)
from executor.inference.samplers.integrals import phi


def res_multistep(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent) -> Tensor:
    """Second-order exponential multistep (Zhang et al. 2023, arXiv:2308.02157)."""
    return multistep(model, x, sigmas, callback)


def res_multistep_ancestral(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """`res_multistep` below the next noise level, then fresh noise up to it."""
    return multistep(model, x, sigmas, callback, noise=noise, eta=eta, s_noise=s_noise)


def multistep(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    callback: Callback,
    *,
    noise: NoiseSource | None = None,
    eta: float = 0.0,
    s_noise: float = 1.0,
    pushed: bool = False,
) -> Tensor:
    """Steps of width h in -ln(sigma): x' = e^-h x + h phi_1(-h) D + h^2 phi_2(-h) (D - D_before) / r.

    That is the line through the last two answers in the exact solution. The answer before lies r back, the width of
    its own step down (recorded behaviour: numeric/samplers_trace, case eps/res_multistep_ancestral). Without one, and
    into zero, a step is Euler's. `pushed` goes by unconditional answers from x moved by guidance's push, an Euler step
    being pushed at its end (see cfg_pp).
    """
    before: Tensor | None = None
    down_before = 0.0
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        answer = model.both(x, sigma) if pushed else _unguided(model(x, sigma))
        callback(step, x, answer.denoised)
        split = variance_split(sigma, sigma_next, eta)
        aim = answer.unconditional
        if split.down == 0 or before is None:
            x = answer.denoised + slope(x, sigma, aim) * split.down
        else:
            width, back = math.log(sigma / split.down), math.log(sigmas[step - 1] / down_before)
            start = x + answer.push if pushed else x
            x = toward(start, aim, split.down / sigma) + (aim - before) * (phi(2, -width) * width**2 / back)
        x = _renewed(x, split, noise, sigma, sigma_next, s_noise)
        before, down_before = aim, split.down
    return x


def _unguided(denoised: Tensor) -> Guided:
    return Guided(denoised, denoised)


def _renewed(
    x: Tensor, split: Split, noise: NoiseSource | None, sigma: float, sigma_next: float, s_noise: float
) -> Tensor:
    return x if noise is None else split.renewed(x, noise, sigma, sigma_next, s_noise)


def gradient_estimation(
    model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent, gamma: float = 2.0
) -> Tensor:
    """Euler with the slope extrapolated from the last one (Permenter & Yuan 2023, arXiv:2306.04848, alg. 2)."""
    before: Tensor | None = None
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        now = slope(x, sigma, denoised)
        ahead = now if before is None or sigma_next == 0 else before + (now - before) * gamma
        x = x + ahead * (sigma_next - sigma)
        before = now
    return x
