"""Sigma tables by scheduler name: which noise levels a sampling visits. Knows no sampler's formula, no network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from executor.errors import UnknownName
from executor.inference.denoiser import ModelSampling
from executor.inference.seams import seam

# These evaluate the model between two sigmas; the last step before zero would fall below the trained range.
DROP_PENULTIMATE = frozenset({"dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"})
FULL_DENOISE = 0.9999
SIGMA_ZERO = 1e-5


def simple(sampling: ModelSampling, steps: int) -> Tensor:
    """Every (N / steps)-th entry of the model's table, from its end, then zero."""
    table = sampling.sigmas
    stride = len(table) / steps
    picked = [table[-(1 + int(step * stride))].item() for step in range(steps)]
    return torch.tensor([*picked, 0.0])


def ddim_uniform(sampling: ModelSampling, steps: int) -> Tensor:
    """Every (N // steps)-th entry counted from the second one up (Song et al. 2021, arXiv:2010.02502), then zero."""
    table = sampling.sigmas
    if abs(table[0].item()) < SIGMA_ZERO:
        steps += 1
    stride = max(len(table) // steps, 1)
    return torch.cat([table[1::stride].flip(0), torch.zeros(1)])


def normal(sampling: ModelSampling, steps: int) -> Tensor:
    """Evenly spaced timesteps from the largest to the smallest sigma, then zero."""
    return _even_timesteps(sampling, steps, end_included=True)


def sgm_uniform(sampling: ModelSampling, steps: int) -> Tensor:
    """Evenly spaced timesteps without the smallest sigma, then zero (trailing spacing)."""
    return _even_timesteps(sampling, steps, end_included=False)


def _even_timesteps(sampling: ModelSampling, steps: int, *, end_included: bool) -> Tensor:
    ends = sampling.timestep(torch.tensor([sampling.sigma_max, sampling.sigma_min]))
    first, last = ends[0].item(), ends[1].item()
    append_zero = True
    if not end_included:
        timesteps = torch.linspace(first, last, steps + 1)[:-1]
    else:
        if abs(sampling.sigma(torch.tensor(last)).item()) < SIGMA_ZERO:
            steps, append_zero = steps + 1, False
        timesteps = torch.linspace(first, last, steps)
    # one at a time: vectorised exponentials differ in the last digit, which a Brownian path shows
    sigmas = torch.stack([sampling.sigma(timestep) for timestep in timesteps])
    return torch.cat([sigmas, torch.zeros(1)]) if append_zero else sigmas


def karras(sampling: ModelSampling, steps: int, rho: float = 7.0) -> Tensor:
    """Even spacing of sigma^(1/rho) (Karras et al. 2022, arXiv:2206.00364, eq. 5), then zero."""
    high, low = sampling.sigma_max ** (1 / rho), sampling.sigma_min ** (1 / rho)
    return torch.cat([(high + torch.linspace(0, 1, steps) * (low - high)) ** rho, torch.zeros(1)])


def exponential(sampling: ModelSampling, steps: int) -> Tensor:
    """Even spacing of log sigma, then zero."""
    sigmas = torch.linspace(math.log(sampling.sigma_max), math.log(sampling.sigma_min), steps).exp()
    return torch.cat([sigmas, torch.zeros(1)])


def beta(sampling: ModelSampling, steps: int, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Table entries at quantiles of a beta distribution, repeats dropped (Lee et al. 2024, arXiv:2407.12173)."""
    from scipy.special import betaincinv  # half a second to import, for this scheduler alone

    table = sampling.sigmas
    shares = [1 - step / steps for step in range(steps)]
    indices = [round(float(betaincinv(alpha, beta, share)) * (len(table) - 1)) for share in shares]
    return torch.tensor([*(table[index].item() for index in dict.fromkeys(indices)), 0.0])


def linear_quadratic(sampling: ModelSampling, steps: int, threshold: float = 0.025) -> Tensor:
    """Linear up to a small share of noise removed, then quadratic (Mochi's schedule), times the largest sigma."""
    if steps == 1:
        return torch.tensor([1.0, 0.0]) * sampling.sigma_max
    linear_steps = steps // 2
    quadratic_steps = steps - linear_steps
    slope_gap = linear_steps - threshold * steps
    square = slope_gap / (linear_steps * quadratic_steps**2)
    line = threshold / linear_steps - 2 * slope_gap / quadratic_steps**2
    start = square * linear_steps**2
    removed = [step * threshold / linear_steps for step in range(linear_steps)]
    removed += [square * step**2 + line * step + start for step in range(linear_steps, steps)]
    return torch.tensor([*(1.0 - share for share in removed), 0.0]) * sampling.sigma_max


def kl_optimal(sampling: ModelSampling, steps: int) -> Tensor:
    """Even spacing of arctan(sigma) (Sabour et al. 2024, arXiv:2404.14507, eq. 9), then zero."""
    share = torch.arange(steps, dtype=torch.float32) / (steps - 1) if steps > 1 else torch.zeros(1)
    angles = share * math.atan(sampling.sigma_min) + (1 - share) * math.atan(sampling.sigma_max)
    return torch.cat([angles.tan(), torch.zeros(1)])


SCHEDULERS: dict[str, Callable[[ModelSampling, int], Tensor]] = {
    "simple": simple,
    "sgm_uniform": sgm_uniform,
    "karras": karras,
    "exponential": exponential,
    "ddim_uniform": ddim_uniform,
    "beta": beta,
    "normal": normal,
    "linear_quadratic": linear_quadratic,
    "kl_optimal": kl_optimal,
}

SCHEDULER_NAMES: list[str] = list(SCHEDULERS)
"""The schedulers that nodes offer; packs add to the list (and to the table, or replace `calculate_sigmas`)."""


@seam("samplers.calculate_sigmas")
def calculate_sigmas(sampling: ModelSampling, scheduler: str, steps: int) -> Tensor:
    """The sigmas of `steps` steps, falling, float32 on the CPU; most schedulers give steps + 1 values.

    Raises UnknownName when there is no such scheduler.
    """
    if scheduler not in SCHEDULERS:
        raise UnknownName("scheduler", scheduler, SCHEDULERS)
    return SCHEDULERS[scheduler](sampling, steps)


def ksampler_sigmas(
    sampling: ModelSampling, scheduler: str, sampler: str, steps: int, denoise: float | None = None
) -> Tensor:
    """The sigmas that a KSampler with these settings visits; empty when there is nothing to do.

    `denoise` below one keeps the last `steps` steps of a longer schedule.
    """
    if steps <= 0:
        return torch.empty(0)
    if denoise is None or denoise > FULL_DENOISE:
        return _sigmas_for(sampling, scheduler, sampler, steps)
    if denoise <= 0.0:
        return torch.empty(0)
    return _sigmas_for(sampling, scheduler, sampler, int(steps / denoise))[-(steps + 1) :]


def _sigmas_for(sampling: ModelSampling, scheduler: str, sampler: str, steps: int) -> Tensor:
    if sampler not in DROP_PENULTIMATE:
        return calculate_sigmas(sampling, scheduler, steps)
    sigmas = calculate_sigmas(sampling, scheduler, steps + 1)
    return torch.cat([sigmas[:-2], sigmas[-1:]])
