"""DPM-Solver++: exponential integrators on the denoised latent in log-SNR time, without and with ancestral noise."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from executor.inference.noise import NoiseSource
from executor.inference.samplers.base import Callback, Model, Sigmas, ancestral_split, silent, toward

# A flow's log SNR is infinite at sigma 1; the middle of the first step is put here instead (recorded:
# sigma_of_calls of numeric/samplers_trace, case flow/dpmpp_2s_ancestral).
FLOW_FIRST_MIDDLE = 0.9999


def dpmpp_2m(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent) -> Tensor:
    """Second-order multistep: towards the answer half a step ahead (Lu et al. 2022, arXiv:2211.01095, alg. 2)."""
    before: Tensor | None = None
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        aim = denoised
        if before is not None and sigma_next > 0:
            aim = denoised + (denoised - before) * extrapolation_share(sigmas[step - 1], sigma, sigma_next)
        x, before = toward(x, aim, sigma_next / sigma), denoised
    return x


def extrapolation_share(sigma_before: float, sigma: float, sigma_next: float) -> float:
    """Half the next step as a share of the last one, both in log sigma: 1 / (2 r) of the paper."""
    return 0.5 * math.log(sigma / sigma_next) / math.log(sigma_before / sigma)


def dpmpp_2s_ancestral(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Second-order single step (Lu et al. 2022, arXiv:2211.01095, alg. 1), then fresh noise (`ancestral_split`)."""
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        split = ancestral_split(model.sampling, sigma, sigma_next, eta)
        aim = denoised
        if split.down > 0:
            middle = _log_snr_middle(model, sigma, split.down)
            aim = model(toward(x, denoised, middle / sigma), middle)
        x = split.renewed(toward(x, aim, split.down / sigma), noise, sigma, sigma_next, s_noise)
    return x


def _log_snr_middle(model: Model, sigma: float, target: float) -> float:
    sampling = model.sampling
    if sampling.is_flow and sigma >= 1.0:
        return FLOW_FIRST_MIDDLE
    half = 0.5 * (sampling.half_log_snr(sigma) + sampling.half_log_snr(target))
    return sampling.sigma_of_half_log_snr(half)
