"""SDE-DPM-Solver++: exponential integrators of the reverse SDE on a Brownian path. Draws no noise itself."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from executor.inference.noise import NoiseSource
from executor.inference.samplers.base import Callback, Model, Sigmas, finite_snr, silent, toward, variance_split
from executor.inference.samplers.sde import SdeStep


def dpmpp_sde(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    eta: float = 1.0,
    s_noise: float = 1.0,
    r: float = 0.5,
) -> Tensor:
    """Second-order single step with noise at the middle and the end (Lu et al. 2022, arXiv:2211.01095, appendix)."""
    sampling = model.sampling

    def noised(x: Tensor, sigma: float, target: float, aim: Tensor) -> Tensor:
        """An exponential step towards `aim` and fresh noise, split in terms of data + ratio * noise."""
        alpha, alpha_target = sampling.alpha(sigma), sampling.alpha(target)
        split = variance_split(sigma / alpha, target / alpha_target, eta)
        data = toward(x / alpha, aim, split.down * alpha / sigma)
        return split.renewed(data, noise, sigma, target, s_noise) * alpha_target

    for step, (sigma, sigma_next) in enumerate(pairwise(finite_snr(sampling, sigmas))):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        if sigma_next == 0:
            return denoised
        middle = sampling.between(sigma, sigma_next, r)
        later = model(noised(x, sigma, middle, denoised), middle)
        x = noised(x, sigma, sigma_next, denoised + (later - denoised) * (0.5 / r))
    return x


def dpmpp_2m_sde(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    eta: float = 1.0,
    s_noise: float = 1.0,
    solver_type: str = "midpoint",
) -> Tensor:
    """Second-order multistep (Lu et al. 2022, arXiv:2211.01095, appendix).

    `solver_type` heun weights the slope of the denoised latent with phi_2, midpoint with phi_1 / 2.
    """
    sampling = model.sampling
    before: Tensor | None = None
    width_before = 0.0
    for step, (sigma, sigma_next) in enumerate(pairwise(finite_snr(sampling, sigmas))):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        if sigma_next == 0:
            return denoised
        sde = SdeStep.between(sampling, sigma, sigma_next, eta)
        x = sde.towards(x, denoised)
        if before is not None:
            weight = sde.weight(2) if solver_type == "heun" else sde.weight(1) / 2
            x = x + (denoised - before) * (weight * sde.width / width_before)
        if eta > 0 and s_noise > 0:
            x = x + noise(sigma, sigma_next) * (sde.spread * s_noise)
        before, width_before = denoised, sde.width
    return x


def dpmpp_2m_sde_heun(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """`dpmpp_2m_sde` of the heun type."""
    return dpmpp_2m_sde(model, x, sigmas, noise=noise, callback=callback, eta=eta, s_noise=s_noise, solver_type="heun")


def dpmpp_3m_sde(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Third-order multistep: slope and bend from divided differences of the last answers.

    The bend is weighted with phi_3 as half the second derivative, where the exact solution has all of it (recorded
    behaviour: numeric/samplers_trace, cases eps/dpmpp_3m_sde and flow/dpmpp_3m_sde).
    """
    sampling = model.sampling
    slope_before: Tensor | None = None
    before: Tensor | None = None
    width_1 = width_2 = 0.0  # of the last step and the one before
    for step, (sigma, sigma_next) in enumerate(pairwise(finite_snr(sampling, sigmas))):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        if sigma_next == 0:
            return denoised
        sde = SdeStep.between(sampling, sigma, sigma_next, eta)
        x = sde.towards(x, denoised)
        if before is not None:
            slope = (denoised - before) / width_1
            x = x + slope * (sde.weight(2) * sde.width)
            if slope_before is not None:
                bend = (slope - slope_before) / (width_1 + width_2)
                x = x + bend * (sde.weight(2) * width_1 * sde.width + sde.weight(3) * sde.width**2)
            slope_before = slope
        if eta > 0 and s_noise > 0:
            x = x + noise(sigma, sigma_next) * (sde.spread * s_noise)
        before, width_1, width_2 = denoised, sde.width, width_1
    return x
