"""What a model family is: it recognises its files and builds modules of them. Names no family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from executor.inference.denoiser import ModelSampling
from executor.inference.extras import Extra
from executor.inference.latent_formats import LatentFormat
from executor.inference.memory import Part
from executor.inference.text.joining import Joining
from executor.inference.text.places import BuiltText
from executor.inference.vae_model import ImageAutoencoder
from executor.inference.wan_vae import WanVae
from executor.inference.weights import WeightFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What a file is: its family, the sizes read from it, and the prefix of each part's names."""

    family: str
    config: object  # the family's own record of sizes
    dtype: torch.dtype  # of most diffusion weights
    prefixes: Mapping[str, str]  # diffusion, text, vae → prefix of names in the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Diffusion:
    """A diffusion network and how it is sampled, weights mapped."""

    part: Part[nn.Module]
    width: int  # channels of its widest feature maps of full size
    text_cells: int = 0  # latent cells that take as much room as a text's tokens beside the picture's
    sampling: ModelSampling  # what its output means and at which noise levels
    latent_format: LatentFormat
    extras: tuple[Extra, ...] = ()  # what it takes beside latents, time and text


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The modules of a checkpoint, weights mapped."""

    diffusion: Diffusion
    texts: tuple[BuiltText, ...]
    vae: Part[ImageAutoencoder] | Part[WanVae] | None
    joining: Joining | None = None  # how what the text encoders give is joined; None: side by side
    missing: tuple[str, ...] = ()  # what files of the family hold beside, and this one does not, in words


class Family(Protocol):
    """One architecture that files come in."""

    @property
    def name(self) -> str:
        """Its short name."""
        ...

    @property
    def latent_format(self) -> LatentFormat:
        """The latent space of its models."""
        ...

    def sampling(self, file: WeightFile, network: Part[nn.Module]) -> ModelSampling:
        """What a network's outputs mean and at which noise levels."""
        ...

    def detect(self, file: WeightFile) -> Detection | None:
        """What the file is, or None when it is not of this family.

        Raises ModelFileError when it is, but has sizes that cannot be.
        """
        ...

    def build(self, file: WeightFile, detection: Detection) -> Parts:
        """Modules of the file's sizes holding its mapped weights."""
        ...

    def build_diffusion(self, file: WeightFile, names: Mapping[str, str]) -> Diffusion | None:
        """The network of a file's tensors (the file's names → the original ones), or None when it is of another family.

        Raises ModelFileError when tensors are missing or do not fit together.
        """
        ...
