"""One step of the reverse SDE of a diffusion, solved in half log SNR. Knows no sampler and draws no noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from executor.inference.denoiser import ModelSampling
from executor.inference.samplers.integrals import phi


@dataclass(frozen=True, slots=True, kw_only=True)
class SdeStep:
    """A step of width h to a level (alpha', sigma') of the SDE whose noise is eta times that of the reverse SDE.

    With z = (1 + eta) h the exact solution is x' = sigma'/sigma e^(-eta h) x + alpha' z (phi_1(-z) D + phi_2(-z) h D_h
    + phi_3(-z) h^2 D_hh + ...) + sigma' sqrt(1 - e^(-2 eta h)) noise, with the derivatives of the denoised latent in
    half log SNR at the step's start (Lu et al. 2022, arXiv:2211.01095, whose eta is 0 or 1; Gonzalez et al. 2023,
    arXiv:2305.14267).
    """

    width: float  # h
    exponent: float  # z
    kept: float
    alpha: float
    spread: float

    @classmethod
    def between(cls, sampling: ModelSampling, sigma: float, target: float, eta: float) -> SdeStep:
        """The step from sigma to target; neither is zero."""
        width = sampling.half_log_snr(target) - sampling.half_log_snr(sigma)
        return cls(
            width=width,
            exponent=width * (1.0 + eta),
            kept=target / sigma * math.exp(-eta * width),
            alpha=sampling.alpha(target),
            spread=target * math.sqrt(-math.expm1(-2.0 * eta * width)),
        )

    def weight(self, order: int) -> float:
        """alpha' z phi_order(-z)."""
        return self.alpha * self.exponent * phi(order, -self.exponent)

    def towards(self, x: Tensor, denoised: Tensor) -> Tensor:
        """The step with a denoised latent that does not change, without noise."""
        return x * self.kept + denoised * self.weight(1)
