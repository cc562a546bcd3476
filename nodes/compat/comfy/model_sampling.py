"""What a network's output means, as packs build it: a class of prediction mixed with a class of noise levels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from executor.inference import denoiser
from executor.inference.denoiser import ModelSampling
from executor.inference.noise_levels import (
    CosineLevels,
    DiscreteLevels,
    ExponentialFlowLevels,
    LogLevels,
    ShiftedFlowLevels,
    sigmas_of_alpha_bars,
    zero_terminal_snr,
)
from nodes.placeholders import fallback

__getattr__ = fallback(__name__)


class _Prediction:
    prediction_class: type | None = None


class EPS(_Prediction):
    """The network predicts the noise."""

    prediction_class = denoiser.Eps


class V_PREDICTION(EPS):  # noqa: N801  (the ecosystem's name)
    """The network predicts v."""

    prediction_class = denoiser.VPrediction


class EDM(V_PREDICTION):
    """The network's output is preconditioned."""

    prediction_class = denoiser.Edm


class X0(EPS):
    """The network predicts the denoised latent."""

    prediction_class = denoiser.X0


class CONST(_Prediction):
    """The network predicts the velocity of a straight path."""

    prediction_class = denoiser.Flow


class COSMOS_RFLOW(_Prediction):  # noqa: N801  (the ecosystem's name)
    """A flow whose sigmas are noise-to-signal ratios."""

    prediction_class = denoiser.CosmosFlow


class _Levels(ModelSampling):
    """Noise levels of a kind; the other base class says what the output means."""

    def __init__(self, model_config: object = None, zsnr: bool | None = None) -> None:
        settings = dict(getattr(model_config, "sampling_settings", None) or {})
        self.set_up(settings, zsnr)

    def use(self, levels: object) -> None:
        """Sample on these levels from now on."""
        made = getattr(type(self), "prediction_class", None) or denoiser.Eps
        ModelSampling.__init__(self, getattr(self, "prediction", None) or made(), levels)

    def set_up(self, settings: dict[str, object], zsnr: bool | None) -> None:
        """Make the levels that the settings say."""


class ModelSamplingDiscrete(_Levels):
    """A table of trained levels."""

    def set_up(self, settings: dict[str, object], zsnr: bool | None) -> None:
        if zsnr if zsnr is not None else settings.get("zsnr"):
            self.use(denoiser.trained_levels(zero_snr=True))
        else:
            self.use(denoiser.trained_levels())

    def set_sigmas(self, sigmas: Tensor) -> None:
        """Use a table of sigmas, rising."""
        self.use(DiscreteLevels(sigmas.float()))

    @property
    def log_sigmas(self) -> Tensor:
        """The table's logarithms."""
        return self.sigmas.log()


class ModelSamplingDiscreteEDM(ModelSamplingDiscrete):
    """The same table for preconditioned networks."""


class ModelSamplingContinuousEDM(_Levels):
    """Levels between two sigmas, even in the logarithm."""

    def set_up(self, settings: dict[str, object], zsnr: bool | None) -> None:
        self.set_parameters(
            settings.get("sigma_min", 0.002), settings.get("sigma_max", 120.0), settings.get("sigma_data", 1.0)
        )

    def set_parameters(self, sigma_min: float, sigma_max: float, sigma_data: float) -> None:
        """Set the ends and the deviation of the data."""
        made = getattr(type(self), "prediction_class", None) or denoiser.Eps
        self.prediction = made() if made in (denoiser.Flow, denoiser.CosmosFlow) else made(sigma_data)
        self.use(LogLevels(sigma_min, sigma_max))


class ModelSamplingContinuousV(ModelSamplingContinuousEDM):
    """The same for v prediction."""


class ModelSamplingDiscreteFlow(_Levels):
    """Levels of a flow with a shift."""

    def set_up(self, settings: dict[str, object], zsnr: bool | None) -> None:
        self.set_parameters(settings.get("shift", 1.0), multiplier=settings.get("multiplier", 1000))

    def set_parameters(self, shift: float = 1.0, timesteps: int = 1000, multiplier: float = 1000) -> None:
        """Set the shift."""
        self.shift, self.multiplier = shift, multiplier
        self.use(ShiftedFlowLevels(shift, multiplier, timesteps))


class ModelSamplingFlux(_Levels):
    """Levels of a flow with an exponential shift."""

    def set_up(self, settings: dict[str, object], zsnr: bool | None) -> None:
        self.set_parameters(settings.get("shift", 1.15))

    def set_parameters(self, shift: float = 1.15, timesteps: int = 10000) -> None:
        """Set the shift."""
        self.shift = shift
        self.use(ExponentialFlowLevels(shift, timesteps))


class StableCascadeSampling(_Levels):
    """Cosine levels."""

    def set_up(self, settings: dict[str, object], zsnr: bool | None) -> None:
        self.set_parameters(settings.get("shift", 1.0))

    def set_parameters(self, shift: float = 1.0, cosine_s: float = 8e-3) -> None:
        """Set the shift."""
        self.use(CosineLevels(shift, cosine_s))


def rescale_zero_terminal_snr_sigmas(sigmas: Tensor) -> Tensor:
    """A table of sigmas moved so that the last one is pure noise (Lin et al. 2024, arXiv:2305.08891)."""
    return sigmas_of_alpha_bars(zero_terminal_snr(1 / (sigmas * sigmas + 1)))


def time_snr_shift(alpha: float, t: Tensor) -> Tensor:
    """Times of a flow, shifted."""
    return t if alpha == 1.0 else alpha * t / (1 + (alpha - 1) * t)


def flux_time_shift(mu: float, sigma: float, t: Tensor) -> Tensor:
    """Times of a flow, shifted exponentially."""
    return math.exp(mu) / (math.exp(mu) + (1 / torch.as_tensor(t) - 1) ** sigma)
