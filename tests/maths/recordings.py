"""The recorded numbers of tests/data/numeric and the toy models they were made with. Knows no sampler."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from executor.inference import denoiser
from executor.inference.latent_formats import SD15
from executor.inference.noise_levels import AngleLevels, ExponentialFlowLevels, FlowTimeLevels

FOLDER = Path(__file__).parents[1] / "data" / "numeric"

TOY_VARIANCE = 0.25


@functools.cache
def tensors(name: str) -> dict[str, Tensor]:
    """All tensors of a recording by key."""
    return load_file(FOLDER / f"{name}.safetensors")


@functools.cache
def described(name: str) -> dict[str, object]:
    """The description of a recording."""
    loaded: dict[str, object] = json.loads((FOLDER / f"{name}.json").read_text())
    return loaded


def cases(name: str) -> dict[str, dict[str, object]]:
    """The cases of a recording by name."""
    found = described(name)["cases"]
    assert isinstance(found, dict)
    return found


def error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest entry of the reference."""
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    if expected.numel() == 0:
        return 0.0
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-6))


MODEL_SAMPLINGS = {
    "eps_sd15": denoiser.discrete_eps,
    "eps_sdxl": denoiser.discrete_eps,
    "vpred_sd21": denoiser.discrete_v,
    "vpred_zsnr": lambda: denoiser.discrete_v(zero_snr=True),
    "eps_zsnr": lambda: denoiser.discrete_eps(zero_snr=True),
    "lcm": denoiser.consistency,
    "lcm_zsnr": lambda: denoiser.consistency(zero_snr=True),
    "x0": denoiser.discrete_x0,
    "svd": lambda: denoiser.continuous_edm(denoiser.VPrediction(), 0.002, 700.0),
    "edm": lambda: denoiser.continuous_edm(denoiser.Edm(0.5), 0.002, 80.0),
    "edm_vpred_120": lambda: denoiser.continuous_edm(denoiser.VPrediction()),
    "edm_eps_120": lambda: denoiser.continuous_edm(denoiser.Eps()),
    "playground25": lambda: denoiser.continuous_edm(denoiser.Edm(0.5), 0.002, 80.0),
    "cosmos_rflow": lambda: denoiser.ModelSampling(denoiser.CosmosFlow(), FlowTimeLevels(0.002, 80.0)),
    "continuous_v": lambda: denoiser.ModelSampling(denoiser.VPrediction(), AngleLevels(0.03, 500.0)),
    "sd3_shift3": lambda: denoiser.flow(3.0),
    "sd3_shift5": lambda: denoiser.flow(5.0),
    "aura_1.73": lambda: denoiser.flow(1.73, 1.0),
    "flux_1.15": denoiser.flux,
    "flux_schnell": lambda: denoiser.flow(1.0, 1.0),
    "flux_512x768": lambda: denoiser.ModelSampling(denoiser.Flow(), ExponentialFlowLevels.for_size(512, 768)),
    "cascade": denoiser.cascade,
}


@functools.cache
def sampling(name: str) -> denoiser.ModelSampling:
    """The model sampling that a recording calls `name`."""
    return MODEL_SAMPLINGS[name]()


def toy_denoised(x: Tensor, sigma: Tensor, context: Tensor, *, is_flow: bool) -> Tensor:
    """The toy denoiser D of the recordings: x [B, 4, H, W], sigma [B], context [B, T, 4]."""
    mu = context.mean(dim=1)[:, :, None, None]
    s = sigma.reshape(-1, 1, 1, 1)
    if is_flow:
        k = (1 - s) * TOY_VARIANCE / ((1 - s) ** 2 * TOY_VARIANCE + s**2)
        denoised, normal = mu + k * (x - (1 - s) * mu), x
    else:
        k = TOY_VARIANCE / (TOY_VARIANCE + s**2)
        denoised, normal = mu + k * (x - mu), x / (1 + s**2).sqrt()
    return denoised + 0.1 * torch.sin(2 * normal) + 0.05 * torch.roll(normal, 1, dims=-1)


def toy_network(x: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
    """The toy network N of the recordings: x [B, 4, H, W], timestep [B], context [B, T, 4]."""
    b = context.mean(dim=1)[:, :, None, None]
    t = timestep.reshape(-1, 1, 1, 1).to(x.dtype)
    rolled = 0.1 * torch.roll(x, 1, dims=-1) + 0.05 * torch.roll(x, 1, dims=1)
    return 0.55 * x + 0.25 * torch.tanh(1.5 * x + b) + rolled + 0.02 * torch.cos(3 * t / 1000)


@dataclass(frozen=True, kw_only=True)
class ToyModel:
    """A model that answers with the toy denoiser, or through the toy network, instead of a trained one."""

    sampling: denoiser.ModelSampling
    networked: bool = False
    extras: tuple[()] = ()
    text_width: None = None
    repeats_text: bool = True

    def apply(
        self, x: Tensor, sigma: Tensor, *, context: Tensor, transformer_options: object = None, **conditions: object
    ) -> Tensor:
        """The denoised latent, as executor.inference.diffusion.DiffusionModel.apply."""
        if not self.networked:
            return toy_denoised(x, sigma, context, is_flow=self.sampling.is_flow)
        output = toy_network(self.sampling.calculate_input(sigma, x), self.sampling.timestep(sigma), context)
        return self.sampling.calculate_denoised(sigma, output, x)


@dataclass(frozen=True, kw_only=True)
class ToyFormat:
    """A latent format of the recordings (tables.json), with shift by channel where it has one."""

    name: str = "SD15"
    channels: int = 4
    scale_factor: float = 0.18215
    mean: Tensor | float = 0.0
    std: Tensor | float = 1.0
    rgb_factors: tuple[tuple[float, float, float], ...] = SD15.rgb_factors
    rgb_bias: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def process_in(self, latent: Tensor) -> Tensor:
        """Into the network's scale."""
        return (latent - self.mean) * self.scale_factor / self.std

    def process_out(self, latent: Tensor) -> Tensor:
        """Out of the network's scale."""
        return latent * self.std / self.scale_factor + self.mean


@dataclass(frozen=True, kw_only=True)
class ToyHandle:
    """What sampling uses of a ModelHandle, around a toy model."""

    model: ToyModel
    latent_format: ToyFormat = field(default_factory=ToyFormat)
    model_options: dict[str, object] = field(default_factory=dict)
    load_device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    wrappers: dict[str, object] = field(default_factory=dict)
    callbacks: dict[str, object] = field(default_factory=dict)

    @property
    def model_sampling(self) -> denoiser.ModelSampling:
        """Noise levels and prediction type."""
        return self.model.sampling

    def within_memory(self, run: Callable[[], object]) -> object:
        """Nothing to free."""
        return run()

    def loaded_for(self, latent_shape: torch.Size) -> AbstractContextManager[None]:
        """Nothing to load."""
        return nullcontext()


def toy_handle(name: str, *, networked: bool = False) -> ToyHandle:
    """A toy model with the model sampling and latent format that a recording calls `name`."""
    model = ToyModel(sampling=sampling(name), networked=networked)
    if name != "playground25":
        return ToyHandle(model=model)
    formats = described("tables")["latent_formats"]
    assert isinstance(formats, dict)
    known = formats["SDXL_Playground_2_5"]
    mean, std = (torch.tensor(known[key]).reshape(1, -1, 1, 1) for key in ("latents_mean", "latents_std"))
    latent_format = ToyFormat(scale_factor=known["scale_factor"], mean=mean, std=std)
    return ToyHandle(model=model, latent_format=latent_format)
