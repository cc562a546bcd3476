"""What a network's output means: scaling of its input, denoised from its output, noise put on a latent.

Knows the kinds of prediction (eps, v, x0, EDM, flow); does not know networks, conditioning or steps.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from executor.inference.noise_levels import (
    CosineLevels,
    DiscreteLevels,
    ExponentialFlowLevels,
    LogLevels,
    NoiseLevels,
    ShiftedFlowLevels,
    alpha_bars,
    scaled_linear_betas,
    sigmas_of_alpha_bars,
    zero_terminal_snr,
)


class Prediction(Protocol):
    """One kind of network output; `sigma` has the rank of `x` (ones behind the batch) or is a number."""

    is_flow: bool

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        """The network's input for a noisy latent."""
        ...

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, x: Tensor) -> Tensor:
        """The denoised latent from a network's output and the noisy latent it saw."""
        ...

    def noise_scaling(self, sigma: float, noise: Tensor, latent: Tensor, max_denoise: bool) -> Tensor:
        """A latent noised to sigma."""
        ...

    def inverse_noise_scaling(self, sigma: float, latent: Tensor) -> Tensor:
        """The latent taken back from the scale that `noise_scaling` gives it."""
        ...


class Eps:
    """The network predicts the noise (Ho et al. 2020, arXiv:2006.11239)."""

    is_flow = False

    def __init__(self, sigma_data: float = 1.0) -> None:
        self.sigma_data = sigma_data

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        """x scaled to the standard deviation of the training data."""
        return x / (sigma**2 + self.sigma_data**2) ** 0.5

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, x: Tensor) -> Tensor:
        """x without the predicted noise."""
        return x - model_output * sigma

    def noise_scaling(self, sigma: float, noise: Tensor, latent: Tensor, max_denoise: bool) -> Tensor:
        """latent + sigma * noise; at full strength the noise has the variance of data plus noise."""
        # float32, because a last digit of the start noise is visible after a model with huge sigmas
        return latent + noise * ((1.0 + torch.tensor(sigma) ** 2).sqrt() if max_denoise else sigma)

    def inverse_noise_scaling(self, sigma: float, latent: Tensor) -> Tensor:
        """The latent itself."""
        return latent


class VPrediction(Eps):
    """The network predicts v = alpha eps - sigma x0 (Salimans & Ho 2022, arXiv:2202.00512)."""

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, x: Tensor) -> Tensor:
        """Rotation of (x, v) back to the data."""
        total = sigma**2 + self.sigma_data**2
        return x * self.sigma_data**2 / total - model_output * sigma * self.sigma_data / total**0.5


class Edm(Eps):
    """Preconditioned network output F (Karras et al. 2022, arXiv:2206.00364, table 1)."""

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, x: Tensor) -> Tensor:
        """c_skip x + c_out F."""
        total = sigma**2 + self.sigma_data**2
        return x * self.sigma_data**2 / total + model_output * sigma * self.sigma_data / total**0.5


class X0(Eps):
    """The network predicts the denoised latent itself."""

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, x: Tensor) -> Tensor:
        """The output as it is."""
        return model_output


class ImageToImage(X0):
    """The network makes the denoised latent of the latent itself."""

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        """x as it is."""
        return x


class ConsistencyEps(Eps):
    """Noise prediction inside a consistency boundary (Luo et al. 2023, arXiv:2310.04378, eq. 9)."""

    def __init__(self, levels: DiscreteLevels, sigma_data: float = 0.5, timestep_scale: float = 10.0) -> None:
        super().__init__(1.0)
        self._levels, self._boundary, self._timestep_scale = levels, sigma_data, timestep_scale

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, x: Tensor) -> Tensor:
        """c_out x0 + c_skip x, equal to x at timestep zero."""
        scaled = self._levels.timestep(sigma).to(x.dtype) * self._timestep_scale
        x0 = x - model_output * sigma
        total = scaled**2 + self._boundary**2
        return scaled / total**0.5 * x0 + self._boundary**2 / total * self.calculate_input(sigma, x)


class Flow:
    """The network predicts the velocity noise - data of a straight path (Lipman et al. 2023, arXiv:2210.02747)."""

    is_flow = True

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        """x as it is."""
        return x

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, x: Tensor) -> Tensor:
        """The data end of the path."""
        return x - model_output * sigma

    def noise_scaling(self, sigma: float, noise: Tensor, latent: Tensor, max_denoise: bool) -> Tensor:
        """The point sigma of the path from latent to noise."""
        return sigma * noise + (1.0 - sigma) * latent

    def inverse_noise_scaling(self, sigma: float, latent: Tensor) -> Tensor:
        """The latent part of a point of the path."""
        return latent / (1.0 - sigma)


class CosmosFlow(Eps):
    """Flow velocity of a network whose sigmas are noise-to-signal ratios (Cosmos-Predict2)."""

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        """x on the straight path."""
        return x / (sigma + 1)

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, x: Tensor) -> Tensor:
        """The data end of the path."""
        time = sigma / (sigma + 1)
        return x * (1.0 - time) - model_output * time

    def noise_scaling(self, sigma: float, noise: Tensor, latent: Tensor, max_denoise: bool) -> Tensor:
        """latent + sigma * noise."""
        return latent + noise * sigma


class ModelSampling:
    """How one model is sampled: its noise levels and what its output means."""

    def __init__(self, prediction: Prediction, levels: NoiseLevels) -> None:
        self.prediction = prediction
        self.levels = levels
        self.sigma_min = self.levels.sigmas[0].item()
        self.sigma_max = self.levels.sigmas[-1].item()

    @property
    def sigmas(self) -> Tensor:
        """The table of sigmas, rising, float32 [N]."""
        return self.levels.sigmas

    @property
    def is_flow(self) -> bool:
        """Whether noisy latents are (1 - sigma) data + sigma noise instead of data + sigma noise."""
        return self.prediction.is_flow

    @property
    def sigma_data(self) -> float | None:
        """Standard deviation assumed of the data; None for flows."""
        return getattr(self.prediction, "sigma_data", None)

    def timestep(self, sigma: Tensor) -> Tensor:
        """The timestep a network is given for each sigma."""
        return self.levels.timestep(sigma)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The sigma of each timestep."""
        return self.levels.sigma(timestep)

    def percent_to_sigma(self, percent: float) -> float:
        """The sigma where `percent` (0..1) of the sampling is done."""
        return self.levels.percent_to_sigma(percent)

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        """The network's input for x [B, ...] noised to sigma [B]."""
        return self.prediction.calculate_input(broadcast(sigma, x), x)

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, x: Tensor) -> Tensor:
        """The denoised latent from the network's output for x [B, ...] at sigma [B]."""
        return self.prediction.calculate_denoised(broadcast(sigma, model_output), model_output, x)

    def noise_scaling(self, sigma: float, noise: Tensor, latent: Tensor, max_denoise: bool = False) -> Tensor:
        """`latent` noised to sigma; `max_denoise` says that sigma is the model's largest."""
        return self.prediction.noise_scaling(sigma, noise, latent, max_denoise)

    def inverse_noise_scaling(self, sigma: float, latent: Tensor) -> Tensor:
        """The latent taken back from the scale of noised latents."""
        return self.prediction.inverse_noise_scaling(sigma, latent)

    def alpha(self, sigma: float) -> float:
        """How much of the data a latent at sigma holds."""
        return 1.0 - sigma if self.is_flow else 1.0

    def half_log_snr(self, sigma: float) -> float:
        """ln(alpha / sigma): the time in which multistep solvers are exact (Lu et al. 2022, arXiv:2206.00927)."""
        return math.log(self.alpha(sigma) / sigma)

    def sigma_of_half_log_snr(self, half_log_snr: float) -> float:
        """Inverse of `half_log_snr`."""
        return 1.0 / (math.exp(half_log_snr) + 1.0) if self.is_flow else math.exp(-half_log_snr)

    def between(self, sigma: float, target: float, share: float) -> float:
        """The noise level at a share of the way from sigma to target in half log SNR.

        A float32 number at every stage, because a Brownian path shows the last digit of its times.
        """
        ends = torch.tensor([sigma, target])
        times = -ends.logit() if self.is_flow else -ends.log()
        middle = torch.lerp(times[0], times[1], share)
        return float(((-middle).sigmoid() if self.is_flow else (-middle).exp()).item())


def broadcast(sigma: Tensor, x: Tensor) -> Tensor:
    """sigma [B] as [B, 1, 1, ...] for x; a single number stays one."""
    return sigma.reshape(sigma.shape[:1] + (1,) * (x.ndim - 1)) if sigma.ndim > 0 else sigma


def trained_levels(*, zero_snr: bool = False, stride: int = 1) -> DiscreteLevels:
    """The 1000 levels that SD1.x, SD2.x and SDXL were trained with."""
    bars = alpha_bars(scaled_linear_betas())
    return DiscreteLevels(sigmas_of_alpha_bars(zero_terminal_snr(bars) if zero_snr else bars), stride)


def discrete_eps(*, zero_snr: bool = False) -> ModelSampling:
    """SD1.x, SD2-base and SDXL."""
    return ModelSampling(Eps(), trained_levels(zero_snr=zero_snr))


def discrete_v(*, zero_snr: bool = False) -> ModelSampling:
    """SD2.x at 768 pixels and other v-prediction models."""
    return ModelSampling(VPrediction(), trained_levels(zero_snr=zero_snr))


def discrete_x0(*, zero_snr: bool = False, unscaled: bool = False) -> ModelSampling:
    """Models that answer with the denoised latent; `unscaled` ones are given latents as they are."""
    return ModelSampling(ImageToImage() if unscaled else X0(), trained_levels(zero_snr=zero_snr))


def consistency(*, zero_snr: bool = False) -> ModelSampling:
    """Latent consistency models distilled to 50 timesteps."""
    levels = trained_levels(zero_snr=zero_snr, stride=20)
    return ModelSampling(ConsistencyEps(levels), levels)


def continuous_edm(prediction: Prediction, sigma_min: float = 0.002, sigma_max: float = 120.0) -> ModelSampling:
    """Continuous log-spaced levels: SVD (v), EDM, Playground 2.5, Cosmos."""
    return ModelSampling(prediction, LogLevels(sigma_min, sigma_max))


def flow(shift: float = 1.0, multiplier: float = 1000.0) -> ModelSampling:
    """SD3 (shift 3), AuraFlow (multiplier 1), Flux schnell (shift 1, multiplier 1)."""
    return ModelSampling(Flow(), ShiftedFlowLevels(shift, multiplier))


def flux(mu: float = 1.15) -> ModelSampling:
    """Flux dev."""
    return ModelSampling(Flow(), ExponentialFlowLevels(mu))


def cascade(shift: float = 2.0) -> ModelSampling:
    """Stable Cascade: cosine levels."""
    return ModelSampling(Eps(), CosineLevels(shift))
