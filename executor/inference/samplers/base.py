"""What every sampler is given, and the arithmetic of one step that they share. Knows no sampler."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from executor.inference.denoiser import ModelSampling
from executor.inference.noise import NoiseSource

Sigmas = Sequence[float]
"""Falling noise levels, the last one mostly zero; plain numbers, so that no step waits for the device."""

Callback = Callable[[int, Tensor, Tensor], None]
"""Called once per step with its number, the noisy latent and the denoised one."""


# The share of a flow's sampling that is skipped where its first log SNR would be infinite.
ALMOST_PURE_NOISE = 1e-4


class Guided(NamedTuple):
    """A guided answer and the unconditional one it was made from."""

    denoised: Tensor
    unconditional: Tensor

    @property
    def push(self) -> Tensor:
        """How far guidance moves the answer."""
        return self.denoised - self.unconditional


class Model(Protocol):
    """A guided denoiser: what samplers call."""

    @property
    def sampling(self) -> ModelSampling:
        """Noise levels and kind of path of the model."""
        ...

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The denoised latent of x [B, ...] at noise level sigma."""
        ...

    def both(self, x: Tensor, sigma: float) -> Guided:
        """The denoised latent with the unconditional one, evaluated at any guidance scale."""
        ...


def silent(step: int, x: Tensor, denoised: Tensor) -> None:
    """A callback that does nothing."""


def slope(x: Tensor, sigma: float, denoised: Tensor) -> Tensor:
    """dx / dsigma of the probability-flow ODE (Karras et al. 2022, arXiv:2206.00364, eq. 3)."""
    return (x - denoised) / sigma


def toward(x: Tensor, denoised: Tensor, kept: float) -> Tensor:
    """x with the share `kept` of its distance to the denoised latent left.

    `kept` sigma' / sigma is the first-order exponential step on the denoised latent in log sigma, which is Euler's.
    """
    return x * kept + denoised * (1.0 - kept)


class Split(NamedTuple):
    """A step divided in a deterministic part down to `down` and fresh noise of deviation `up`, after scaling."""

    down: float
    up: float
    scale: float

    def renewed(self, x: Tensor, noise: NoiseSource, sigma: float, sigma_next: float, s_noise: float) -> Tensor:
        """x, which has come from sigma to `down`, with its fresh noise; `s_noise` weakens or strengthens that."""
        return x * self.scale + noise(sigma, sigma_next) * (self.up * s_noise) if self.up > 0 else x


def ancestral_split(sampling: ModelSampling, sigma: float, sigma_next: float, eta: float) -> Split:
    """Where to step to and how much noise to add so that the latent ends with noise level `sigma_next`.

    Source: `eta` interpolates between DDIM and the ancestral chain of DDPM (Song et al. 2021, arXiv:2010.02502,
    eq. 16). A flow's latent at `down` holds (1 - down) data and is scaled to hold (1 - sigma_next); the variances
    (down scale)^2 + up^2 have to make sigma_next^2. Its `down` at eta 1 is sigma_next^2 / sigma: recorded behaviour,
    numeric/samplers_trace, case flow/euler_ancestral; guiders, case SamplerEulerAncestral/0 for eta.
    """
    if eta == 0.0 or sigma_next == 0.0:
        return Split(sigma_next, 0.0, 1.0)
    if not sampling.is_flow:
        return variance_split(sigma, sigma_next, eta)
    down = sigma_next * (1.0 - eta * (1.0 - sigma_next / sigma))
    scale = (1.0 - sigma_next) / (1.0 - down)
    return Split(down, math.sqrt(max(sigma_next**2 - (down * scale) ** 2, 0.0)), scale)


def variance_split(sigma: float, sigma_next: float, eta: float) -> Split:
    """`ancestral_split` where noisy latents are data + sigma noise: down^2 + up^2 = sigma_next^2.

    At eta 1 `up` is the deviation of the posterior q(x_next | x, data), sigma_next sqrt(1 - sigma_next^2 / sigma^2)
    (Ho et al. 2020, arXiv:2006.11239, eq. 7, for data + sigma noise).
    """
    if eta == 0.0 or sigma_next == 0.0:
        return Split(sigma_next, 0.0, 1.0)
    posterior = sigma_next * math.sqrt(max(1.0 - (sigma_next / sigma) ** 2, 0.0))
    up = min(eta * posterior, sigma_next)
    return Split(math.sqrt(sigma_next**2 - up**2), up, 1.0)


def rounded_variance(sigma: float) -> float:
    """1 + sigma^2, the variance of normal data + sigma noise, as a float32 number.

    It loses digits where sigma is small. Recorded behaviour: numeric/samplers_models, cases edm/ddpm/normal,
    edm/uni_pc/normal, flux_512x768/ddpm/normal and net/vpred_zsnr/uni_pc, which exact numbers miss by up to 1 %.
    """
    return float((torch.tensor(sigma) ** 2 + 1.0).item())


def finite_snr(sampling: ModelSampling, sigmas: Sigmas) -> list[float]:
    """The sigmas with the first moved just below pure noise, where a flow's log SNR is infinite.

    Recorded behaviour: sigma_of_calls of numeric/samplers_trace, e.g. case flow/sa_solver.
    """
    if sampling.is_flow and sigmas[0] >= 1.0:
        return [sampling.percent_to_sigma(ALMOST_PURE_NOISE), *sigmas[1:]]
    return list(sigmas)
