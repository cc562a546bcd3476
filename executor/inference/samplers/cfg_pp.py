"""Samplers guided along the data manifold (CFG++, Chung et al. 2024, arXiv:2406.08070).

The paper's rule for DDIM: x' = alpha' D_c + sigma' eps_u, with D_c the guided denoised latent and eps_u = (x - alpha
D_u) / sigma the noise that the unconditional one implies. That is the plain step on D_u, moved by the push D_c - D_u.
For the other methods the paper does not say where in the step the push belongs. Recorded behaviour: numeric/
samplers_trace, cases eps and flow/*_cfg_pp, whose steps these rules reproduce. For euler, gradient_estimation, dpmpp_2m
and res_multistep each recorded x follows from x, D_c and D_u to 2e-7, and is missed by 1e-2 or more with other rules.

    euler, euler_ancestral   after the step, with fresh noise as in DDIM
    gradient_estimation      after the step, slopes are unconditional
    dpmpp_2m                 after the step; the change over the last step is D_c - D_u of the step before
    res_multistep            before the step, so that it shrinks by sigma' / sigma; past answers are unconditional
    dpmpp_2s_ancestral       both stages go towards D_c, from x moved by D_c minus the stage's own D_u
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from executor.inference.noise import NoiseSource
from executor.inference.samplers.base import Callback, Model, Sigmas, silent, slope, toward, variance_split
from executor.inference.samplers.dpmpp import extrapolation_share
from executor.inference.samplers.res import multistep


def euler_cfg_pp(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent) -> Tensor:
    """Guided denoised plus unconditional noise (CFG++, alg. 2: DDIM without fresh noise)."""
    sampling = model.sampling
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, unconditional = model.both(x, sigma)
        callback(step, x, denoised)
        eps = slope(x, sigma, unconditional * sampling.alpha(sigma))
        x = denoised * sampling.alpha(sigma_next) + eps * sigma_next
    return x


def euler_cfg_pp_alternative(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent) -> Tensor:
    """Euler's step from a latent that the push is taken off.

    Recorded: of all steps along x + a D_c + b D_u, numeric/guiders case SamplerEulerCFGpp/17 fits a = -2, b = 1 (to
    7e-7), which is Euler's slope to D_c of x - (D_c - D_u).
    """
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        answer = model.both(x, sigma)
        callback(step, x, answer.denoised)
        x = x + slope(x - answer.push, sigma, answer.denoised) * (sigma_next - sigma)
    return x


def euler_ancestral_cfg_pp(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """`euler_cfg_pp` with part of the noise drawn afresh (as DDIM: Song et al. 2021, arXiv:2010.02502, eq. 16).

    The split is of the noise-to-signal ratio sigma / alpha, which is infinite at the start of a flow.
    """
    sampling = model.sampling
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, unconditional = model.both(x, sigma)
        callback(step, x, denoised)
        alpha, alpha_next = sampling.alpha(sigma), sampling.alpha(sigma_next)
        split = variance_split(sigma / alpha if alpha > 0 else math.inf, sigma_next / alpha_next, eta)
        data = denoised + slope(x, sigma, unconditional * alpha) * split.down
        x = split.renewed(data, noise, sigma, sigma_next, s_noise) * alpha_next
    return x


def dpmpp_2m_cfg_pp(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent) -> Tensor:
    """`dpmpp_2m` on the unconditional answer, pushed after each step."""
    before: Tensor | None = None
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        answer = model.both(x, sigma)
        callback(step, x, answer.denoised)
        aim = answer.unconditional
        if before is not None and sigma_next > 0:
            aim = aim + (answer.denoised - before) * extrapolation_share(sigmas[step - 1], sigma, sigma_next)
        x = toward(x, aim, sigma_next / sigma) + answer.push
        before = answer.unconditional
    return x


def dpmpp_2s_ancestral_cfg_pp(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """`dpmpp_2s_ancestral` towards the guided answers, from a latent pushed before either stage."""
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        answer = model.both(x, sigma)
        callback(step, x, answer.denoised)
        split = variance_split(sigma, sigma_next, eta)
        if split.down == 0:
            x = answer.denoised
            continue
        middle = math.sqrt(sigma * split.down)
        halfway = model.both(toward(x + answer.push, answer.denoised, middle / sigma), middle)
        pushed = x + (answer.denoised - halfway.unconditional)
        x = toward(pushed, halfway.denoised, split.down / sigma)
        x = split.renewed(x, noise, sigma, sigma_next, s_noise)
    return x


def res_multistep_cfg_pp(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent) -> Tensor:
    """`res_multistep` on unconditional answers, pushed before each step."""
    return multistep(model, x, sigmas, callback, pushed=True)


def res_multistep_ancestral_cfg_pp(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """`res_multistep_ancestral` on unconditional answers, pushed before each step."""
    return multistep(model, x, sigmas, callback, noise=noise, eta=eta, s_noise=s_noise, pushed=True)


def gradient_estimation_cfg_pp(
    model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent, gamma: float = 2.0
) -> Tensor:
    """`gradient_estimation` along unconditional slopes, pushed after each step."""
    before: Tensor | None = None
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, unconditional = model.both(x, sigma)
        callback(step, x, denoised)
        now = slope(x, sigma, unconditional)
        x = denoised + now * sigma_next
        if before is not None and sigma_next > 0:
            x = x + (now - before) * ((gamma - 1.0) * (sigma_next - sigma))
        before = now
    return x
