"""Which noise level (sigma) belongs to which timestep of a model. Knows nothing of networks or predictions."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from executor.inference.crossing import sent

# What "before the first step" is called where sigma has no largest value.
BEYOND_EVERY_SIGMA = 999999999.9
# Terminal alpha-bar of a zero-terminal-SNR schedule: an exact zero would make sigma infinite.
ZERO_SNR_ALPHA_BAR = 4.8973451890853435e-08


class NoiseLevels(Protocol):
    """A rising table of sigmas and the two-way map between sigma and the timestep a network is given."""

    sigmas: Tensor  # [N] float32, rising

    def timestep(self, sigma: Tensor) -> Tensor:
        """The timestep of each sigma, same shape."""
        ...

    def sigma(self, timestep: Tensor) -> Tensor:
        """The sigma of each timestep, same shape."""
        ...

    def percent_to_sigma(self, percent: float) -> float:
        """The sigma where `percent` (0..1) of the way from pure noise to the picture is done."""
        ...


def alpha_bars(betas: Tensor) -> Tensor:
    """Products of (1 - beta) up to each step."""
    return torch.cumprod(1.0 - betas, dim=0)


def scaled_linear_betas(steps: int = 1000, first: float = 0.00085, last: float = 0.012) -> Tensor:
    """Betas whose square roots are linear, float64 [steps] (Rombach et al. 2022, arXiv:2112.10752)."""
    return torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2


def zero_terminal_snr(alpha_bar: Tensor) -> Tensor:
    """Alpha-bars shifted and scaled so that the last step is all noise (Lin et al. 2023, arXiv:2305.08891, alg. 1)."""
    root = alpha_bar.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    rescaled = ((root - last) * (first / (first - last))) ** 2
    rescaled[-1] = ZERO_SNR_ALPHA_BAR
    return rescaled


def sigmas_of_alpha_bars(alpha_bar: Tensor) -> Tensor:
    """Noise-to-signal ratio sqrt((1 - a) / a) of each alpha-bar."""
    return ((1 - alpha_bar) / alpha_bar).sqrt()


class DiscreteLevels:
    """A trained table: the timestep is the nearest index, sigmas between are interpolated in log sigma.

    `stride` > 1 keeps every stride-th trained step, the last one included (distilled consistency models).
    """

    def __init__(self, sigmas: Tensor, stride: int = 1) -> None:
        self.trained_steps = len(sigmas)
        self.stride = stride
        kept = sigmas[stride - 1 :: stride]
        self.sigmas = kept.to(torch.float32)
        # recorded schedules of distilled models follow the logarithm of the rounded table
        self._log_sigmas = (kept if stride == 1 else self.sigmas).log().to(torch.float32)
        self._tables: dict[torch.device, Tensor] = {}  # the same on other devices

    def _table(self, device: torch.device) -> Tensor:
        """The logarithms where they are looked up; brought there once."""
        if device not in self._tables:
            self._tables[device] = sent(self._log_sigmas, device)
        return self._tables[device]

    def timestep(self, sigma: Tensor) -> Tensor:
        """Trained index nearest to each sigma in log sigma, int64."""
        table = self._table(sigma.device)
        distance = (sigma.log().reshape(-1, 1) - table).abs()
        nearest = distance.argmin(dim=1).reshape(sigma.shape)
        return nearest if self.stride == 1 else nearest * self.stride + (self.stride - 1)

    def sigma(self, timestep: Tensor) -> Tensor:
        """Sigma at each (fractional) trained index."""
        table = self._table(timestep.device)
        index = ((timestep.to(torch.float32) - (self.stride - 1)) / self.stride).clamp(0, len(table) - 1)
        low, high, weight = index.floor().long(), index.ceil().long(), index.frac()
        return ((1 - weight) * table[low] + weight * table[high]).exp()

    def percent_to_sigma(self, percent: float) -> float:
        """The sigma at a share of the way, by trained index."""
        if percent <= 0.0:
            return BEYOND_EVERY_SIGMA
        if percent >= 1.0:
            return 0.0
        return float(self.sigma(torch.tensor((1.0 - percent) * (self.trained_steps - 1))))


class LogLevels:
    """Sigmas evenly spaced in log sigma; the network is given ln(sigma) / 4 (Karras et al. 2022, arXiv:2206.00364)."""

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 120.0, steps: int = 1000) -> None:
        self.sigmas = torch.linspace(math.log(sigma_min), math.log(sigma_max), steps).exp()

    def timestep(self, sigma: Tensor) -> Tensor:
        """A quarter of the natural logarithm."""
        return 0.25 * sigma.log()

    def sigma(self, timestep: Tensor) -> Tensor:
        """Inverse of `timestep`."""
        return (timestep / 0.25).exp()

    def percent_to_sigma(self, percent: float) -> float:
        """The sigma at a share of the way, linear in log sigma."""
        if percent <= 0.0:
            return BEYOND_EVERY_SIGMA
        if percent >= 1.0:
            return 0.0
        low, high = math.log(self.sigmas[0].item()), math.log(self.sigmas[-1].item())
        return math.exp((high - low) * (1.0 - percent) + low)


class AngleLevels(LogLevels):
    """Log-spaced sigmas whose timestep is the angle of signal and noise, 0..1 (Salimans & Ho, arXiv:2202.00512)."""

    def timestep(self, sigma: Tensor) -> Tensor:
        """Angle of (1, sigma) as a share of a right angle."""
        return sigma.atan() / math.pi * 2

    def sigma(self, timestep: Tensor) -> Tensor:
        """Inverse of `timestep`."""
        return (timestep * math.pi / 2).tan()


class FlowTimeLevels(LogLevels):
    """Log-spaced noise-to-signal ratios; the network is given the flow time sigma / (sigma + 1)."""

    def timestep(self, sigma: Tensor) -> Tensor:
        """Flow time of each sigma."""
        return sigma / (sigma + 1)

    def sigma(self, timestep: Tensor) -> Tensor:
        """Inverse of `timestep`, up to the largest sigma."""
        return (timestep / (1 - timestep)).clamp(max=self.sigmas[-1].item())


class ShiftedFlowLevels:
    """Rectified-flow time 0..1 shifted towards noise (Esser et al. 2024, arXiv:2403.03206, eq. 23)."""

    def __init__(self, shift: float = 1.0, multiplier: float = 1000.0, steps: int = 1000) -> None:
        self.shift, self.multiplier = shift, multiplier
        self.sigmas = self.sigma(torch.arange(1, steps + 1) / steps * multiplier)

    def timestep(self, sigma: Tensor) -> Tensor:
        """Sigma times the multiplier the network was trained with."""
        return sigma * self.multiplier

    def sigma(self, timestep: Tensor) -> Tensor:
        """Shifted flow time of each timestep."""
        time = timestep / self.multiplier
        return self.shift * time / (1 + (self.shift - 1) * time)

    def percent_to_sigma(self, percent: float) -> float:
        """The sigma at a share of the way, linear in unshifted time."""
        if percent <= 0.0:
            return 1.0
        if percent >= 1.0:
            return 0.0
        time = 1.0 - percent
        return self.shift * time / (1 + (self.shift - 1) * time)


class ExponentialFlowLevels:
    """Rectified-flow time shifted by exp(mu), the network is given sigma itself (Flux)."""

    def __init__(self, mu: float = 1.15, steps: int = 10000) -> None:
        self.mu = mu
        self.sigmas = self.sigma(torch.arange(1, steps + 1) / steps)

    @classmethod
    def for_size(
        cls, width: int, height: int, *, max_shift: float = 1.15, base_shift: float = 0.5
    ) -> ExponentialFlowLevels:
        """Levels for a picture size in pixels: mu grows linearly with the number of 16 x 16 pixel tokens."""
        tokens = width * height / 256
        slope = (max_shift - base_shift) / (4096 - 256)
        return cls(tokens * slope + base_shift - slope * 256)

    def timestep(self, sigma: Tensor) -> Tensor:
        """Sigma unchanged."""
        return sigma

    def sigma(self, timestep: Tensor) -> Tensor:
        """Shifted flow time of each timestep."""
        return math.exp(self.mu) / (math.exp(self.mu) + (1 / timestep - 1))

    def percent_to_sigma(self, percent: float) -> float:
        """The sigma at a share of the way, linear in unshifted time."""
        if percent <= 0.0:
            return 1.0
        if percent >= 1.0:
            return 0.0
        return math.exp(self.mu) / (math.exp(self.mu) + (1 / (1.0 - percent) - 1))


class CosineLevels:
    """Cosine alpha-bars over time 0..1 (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17) with a signal shift."""

    def __init__(self, shift: float = 1.0, offset: float = 0.008, steps: int = 10000) -> None:
        self.shift, self.offset = shift, offset
        self.sigmas = self.sigma(torch.arange(1, steps + 1) / steps)

    def sigma(self, timestep: Tensor) -> Tensor:
        """Sigma at each time 0..1."""
        bar = self._cosine(timestep) / self._start(timestep)
        if self.shift != 1.0:
            bar = ((bar / (1 - bar)).log() + 2 * math.log(1 / self.shift)).sigmoid()
        bar = bar.clamp(0.0001, 0.9999)
        return ((1 - bar) / bar).sqrt()

    def timestep(self, sigma: Tensor) -> Tensor:
        """Time 0..1 of each sigma on the unshifted curve, which is what the network was trained with."""
        bar = 1 / (sigma * sigma + 1)
        angle = (bar * self._start(sigma)).sqrt().clamp(0, 1).acos()
        return (angle / (math.pi * 0.5)) * (1 + self.offset) - self.offset

    def _cosine(self, time: Tensor) -> Tensor:
        return ((time + self.offset) / (1 + self.offset) * math.pi * 0.5).cos() ** 2

    def _start(self, like: Tensor) -> Tensor:
        return self._cosine(torch.zeros((), device=like.device))

    def percent_to_sigma(self, percent: float) -> float:
        """The sigma at a share of the way, linear in time."""
        if percent <= 0.0:
            return BEYOND_EVERY_SIGMA
        if percent >= 1.0:
            return 0.0
        return float(self.sigma(torch.tensor(1.0 - percent)))
