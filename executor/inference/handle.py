"""The MODEL that nodes hand around: a diffusion model and how it is used. Knows neither samplers nor conditioning."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from executor.inference.denoiser import ModelSampling
from executor.inference.latent_formats import LatentFormat
from executor.inference.memory import Memory, Part

# feature maps of the widest full-size layer that are alive at once in a UNet, skips included
LIVE_MAPS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionModel:
    """A network that predicts, and what its prediction means."""

    part: Part[nn.Module]
    sampling: ModelSampling
    width: int  # channels of its widest feature maps of full size

    def apply(
        self,
        x: Tensor,
        sigma: Tensor,
        *,
        context: Tensor,
        transformer_options: Mapping[str, object] | None = None,
    ) -> Tensor:
        """The denoised latent [B, 4, h, w], float32, of a noisy one at sigma [B] under context [B, T, C].

        `transformer_options` go with the call for patches that wrap it; a network without patches reads none.
        """
        dtype = self.part.dtype
        network_input = self.sampling.calculate_input(sigma, x).to(dtype)
        timestep = self.sampling.timestep(sigma).float()
        output = self.part.module(
            network_input, timestep, encoder_hidden_states=context.to(x.device, dtype), return_dict=False
        )[0]
        return self.sampling.calculate_denoised(sigma, output.float(), x)

    def working_bytes(self, shape: torch.Size) -> int:
        """Bytes that one call on latents [B, 4, h, w] needs beside the weights."""
        return LIVE_MAPS * shape[0] * self.width * shape[-2] * shape[-1] * self.part.dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHandle:
    """A diffusion model as one branch of a graph sees it: clones share weights and differ in options."""

    model: DiffusionModel
    family: str
    latent_format: LatentFormat
    memory: Memory
    model_options: dict[str, object] = field(default_factory=lambda: {"transformer_options": {}})
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    parent: "ModelHandle | None" = None

    def clone(self) -> "ModelHandle":
        """The same model with options of its own."""
        return replace(self, model_options=copied(self.model_options), id=uuid.uuid4(), parent=self)

    @property
    def load_device(self) -> torch.device:
        """Where the model computes."""
        return self.memory.device

    @property
    def nbytes(self) -> int:
        """Bytes of its weights in the file's types."""
        return self.model.part.nbytes()

    def load(self, latent_shape: torch.Size | None = None) -> None:
        """Make the model ready to compute, with room for latents [B, 4, h, w]."""
        self.memory.load(self.model.part, self.model.working_bytes(latent_shape) if latent_shape else 0)


def copied(options: Mapping[str, object]) -> dict[str, object]:
    """Options with every dictionary and list within copied; other values are shared."""
    return {name: copied_value(value) for name, value in options.items()}


def copied_value(value: object) -> object:
    """One option, copied where clones could change it."""
    if isinstance(value, dict):
        return copied(value)
    return list(value) if isinstance(value, list) else value
