"""SEEDS: exponential SDE solvers with exactly distributed stage noise (Gonzalez et al. 2023, arXiv:2305.14267)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from executor.inference.noise import NoiseSource
from executor.inference.samplers.base import Callback, Model, Sigmas, finite_snr, silent
from executor.inference.samplers.sde import SdeStep


def seeds_2(
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
    """Two evaluations per step."""
    return _seeds(model, x, sigmas, noise, callback, eta, s_noise, (r,))


def seeds_3(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    eta: float = 1.0,
    s_noise: float = 1.0,
    r_1: float = 1 / 3,
    r_2: float = 2 / 3,
) -> Tensor:
    """Three evaluations per step."""
    return _seeds(model, x, sigmas, noise, callback, eta, s_noise, (r_1, r_2))


def _seeds(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    noise: NoiseSource,
    callback: Callback,
    eta: float,
    s_noise: float,
    stages: tuple[float, ...],
) -> Tensor:
    """Stages at shares of the step, each from its start, the last one with the slope of the denoised latent.

    In two-stage steps that slope has the weight phi_1 / 2, in three-stage ones phi_2 (see SdeStep). The noise of a
    stage is that of the stage before, decayed, and fresh noise for the rest of the way: one path for all stages.
    """
    sampling = model.sampling
    for step, (sigma, sigma_next) in enumerate(pairwise(finite_snr(sampling, sigmas))):
        denoised = model(x, sigma)
        callback(step, x, denoised)
        if sigma_next == 0:
            return denoised
        start, end = sampling.half_log_snr(sigma), sampling.half_log_snr(sigma_next)
        levels = [*(sampling.sigma_of_half_log_snr(start + r * (end - start)) for r in stages), sigma_next]
        answer, share_before, level_before = denoised, 0.0, sigma
        drawn = torch.zeros_like(x)
        for share, level in zip((*stages, 1.0), levels, strict=True):
            sde = SdeStep.between(sampling, sigma, level, eta)
            reached = sde.towards(x, denoised)
            if share_before > 0:
                weight = sde.weight(1) / 2 / share if len(stages) == 1 else sde.weight(2)
                reached = reached + (answer - denoised) * (weight * share / share_before)
            if eta > 0 and s_noise > 0:
                rest = SdeStep.between(sampling, level_before, level, eta)
                drawn = drawn * rest.kept + noise(level_before, level) * (rest.spread * s_noise)
                reached = reached + drawn
            if share < 1.0:
                answer = model(reached, level)
            share_before, level_before = share, level
        x = reached
    return x
