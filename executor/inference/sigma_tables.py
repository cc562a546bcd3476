"""Sigma tables from plain numbers, and tables cut, turned round and filled up. Knows no model and no scheduler's name.

A table is a one-dimensional float32 tensor on the CPU of falling sigmas, mostly with a zero at its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

import torch
from torch import Tensor

# Keeps the logarithm at both ends of the Laplace distribution finite (recorded: numeric/scheduler_nodes, Laplace*).
LAPLACE_EPSILON = 1e-5
# Stands for a zero at the front, where no sampler can start from (recorded: numeric/scheduler_nodes, FlipSigmas/0).
SMALLEST_START = 1e-4

# Cells of a latent at which the smallest and the largest shift hold (LTX-Video's published scheduler_config.json).
LTX_CELLS = (1024, 4096)

SPACINGS: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "linear": lambda share: share,
        "cosine": lambda share: math.sin(share * math.pi / 2),
        "sine": lambda share: 1.0 - math.cos(share * math.pi / 2),
    }
)
"""How the levels between two sigmas are spread: the share of the way down by the share of the steps."""


def karras(steps: int, sigma_max: float, sigma_min: float, rho: float) -> Tensor:
    """Even spacing of sigma^(1/rho) (Karras et al. 2022, arXiv:2206.00364, eq. 5), then zero."""
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return with_zero((high + torch.linspace(0, 1, steps) * (low - high)) ** rho)


def polyexponential(steps: int, sigma_max: float, sigma_min: float, rho: float) -> Tensor:
    """Polynomial spacing of log sigma, even at a rho of one, then zero."""
    high, low = math.log(sigma_max), math.log(sigma_min)
    return with_zero(torch.exp(torch.linspace(1, 0, steps) ** rho * (high - low) + low))


def exponential(steps: int, sigma_max: float, sigma_min: float) -> Tensor:
    """Even spacing of log sigma, then zero."""
    return with_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), steps).exp())


def laplace(steps: int, sigma_max: float, sigma_min: float, mu: float, beta: float) -> Tensor:
    """Quantiles of a Laplace distribution of log sigma (Hang et al. 2024, arXiv:2407.03297), with no zero."""
    away = 0.5 - torch.linspace(0, 1, steps)
    log_sigma = mu - beta * away.sign() * torch.log(1 - 2 * away.abs() + LAPLACE_EPSILON)
    return log_sigma.exp().clamp(sigma_min, sigma_max)


def variance_preserving(steps: int, beta_d: float, beta_min: float, eps_s: float) -> Tensor:
    """The continuous VP schedule (Song et al. 2021, arXiv:2011.13456), then zero."""
    time = torch.linspace(1, eps_s, steps)
    return with_zero(torch.expm1(beta_d * time**2 / 2 + beta_min * time).sqrt())


def ltx_shift(cells: int, base_shift: float, max_shift: float) -> float:
    """The shift of a latent of so many cells, linear in them (LTX-Video: HaCohen et al. 2024, arXiv:2501.00103)."""
    low, high = LTX_CELLS
    return base_shift + (max_shift - base_shift) * (cells - low) / (high - low)


def exponential_flow(steps: int, mu: float, last: float | None = None) -> Tensor:
    """Even times of a flow shifted by exp(mu), then zero (Esser et al. 2024, arXiv:2403.03206, section 5.3.2).

    With `last` the distances from pure noise are stretched so that the level before the zero is that one, as diffusers'
    FlowMatchEulerDiscreteScheduler does by `shift_terminal`.
    """
    time = torch.linspace(1, 1 / max(steps, 1), steps)
    levels = math.exp(mu) / (math.exp(mu) + (1 / time - 1))
    if last is not None and steps > 1:  # of one step the level is pure noise, which no stretching moves
        away = 1 - levels
        levels = 1 - away * ((1 - last) / away[-1])
    return with_zero(levels)


def log_interpolated(levels: Sequence[float], count: int) -> Tensor:
    """`count` sigmas evenly spread over a table of them, log sigma linear in between."""
    logs = torch.tensor(levels, dtype=torch.float64).log()
    places = torch.linspace(0, len(levels) - 1, count, dtype=torch.float64)
    left = places.floor().long().clamp(max=len(levels) - 2)
    return torch.lerp(logs[left], logs[left + 1], places - left).exp().float()


def last_steps(sigmas: Tensor, steps: int) -> Tensor:
    """The end of a table, `steps` steps of it, down to zero; of no steps nothing."""
    if steps <= 0:
        return sigmas[:0]
    return with_zero(sigmas[-(steps + 1) : -1])


def split(sigmas: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """The table up to the level before a step and from there on; both have that level."""
    return sigmas[: step + 1], sigmas[step:]


def split_share(sigmas: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """`split` so that a share (0..1) of the steps comes after it; of no steps the first part is empty."""
    steps = round(max(len(sigmas) - 1, 0) * share)
    return (sigmas[:-steps] if steps else sigmas[:0]), sigmas[-(steps + 1) :]


def flipped(sigmas: Tensor) -> Tensor:
    """The table turned round, for adding noise; a zero that comes first becomes a small level."""
    turned = sigmas.flip(0)
    if len(turned) and turned[0] == 0:
        turned[0] = SMALLEST_START
    return turned


def with_first(sigmas: Tensor, sigma: float) -> Tensor:
    """The table with another first level."""
    changed = sigmas.clone()
    changed[:1] = sigma
    return changed


def extended(sigmas: Tensor, steps: int, start: float, end: float, spacing: str) -> Tensor:
    """Each step that begins at a level from `start` down to `end` made `steps` steps; a negative start is no bound."""
    spread = SPACINGS[spacing]
    highest = math.inf if start < 0 else start
    levels: list[float] = []
    for level, following in pairwise(sigmas.tolist()):
        parts = steps if end <= level <= highest else 1
        levels += [level + (following - level) * spread(part / parts) for part in range(parts)]
    return torch.tensor([*levels, *sigmas[-1:].tolist()])


def with_zero(sigmas: Tensor) -> Tensor:
    """The table with a zero at its end."""
    return torch.cat([sigmas, sigmas.new_zeros(1)])
