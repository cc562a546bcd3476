"""Files of diffusion transformers: what families share that differ in network, texts and autoencoder. Names none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor, nn

from executor.inference.denoiser import ModelSampling
from executor.inference.families.base import Detection, Diffusion, Parts
from executor.inference.families.latent_diffusion import below, mapped_names
from executor.inference.latent_formats import LatentFormat
from executor.inference.memory import Part, most_common_dtype
from executor.inference.text.joining import Joining
from executor.inference.text.places import TextPlace, build_texts
from executor.inference.vae_model import ImageAutoencoder
from executor.inference.wan_vae import WanVae
from executor.inference.weights import WeightFile

Shape = TypeVar("Shape")
PREFIX = "model.diffusion_model."
VAES = ("vae.", "first_stage_model.")
"""What the names of an autoencoder begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedVae:
    """An autoencoder of a checkpoint: where it stands, and how it is built."""

    prefix: str
    build: Callable[[], Part[ImageAutoencoder] | Part[WanVae]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Generic[Shape]):
    """Sizes of the network that a file holds, and its autoencoder."""

    network: Shape
    vae: PlacedVae | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerFamily(Generic[Shape]):
    """One family of such files."""

    name: str
    latent_format: LatentFormat
    is_ours: Callable[[Mapping[str, Tensor]], bool]  # of the network's tensors by their own names
    read_shape: Callable[[WeightFile, Mapping[str, Tensor]], Shape]
    read_sampling: Callable[[Part[nn.Module]], ModelSampling]
    build_network: Callable[[WeightFile, Shape, Mapping[str, str]], Diffusion]
    find_vae: Callable[[WeightFile], PlacedVae | None]
    texts: Sequence[TextPlace]
    joining: Joining | None = None

    def sampling(self, file: WeightFile, network: Part[nn.Module]) -> ModelSampling:
        """What the network's output means and at which noise levels."""
        return self.read_sampling(network)

    def detect(self, file: WeightFile) -> Detection | None:
        """The sizes of a checkpoint; None for others. Text encoders and VAE may be missing.

        Raises ModelFileError when it lacks something, or is of a kind that this version does not run.
        """
        tensors = below(file.tensors, PREFIX)
        if not self.is_ours(tensors):
            return None
        vae = self.find_vae(file)
        config = Config(network=self.read_shape(file, tensors), vae=vae)
        prefixes = {"diffusion": PREFIX, "vae": VAES[0] if vae is None else vae.prefix}
        return Detection(family=self.name, config=config, dtype=most_common_dtype(tensors), prefixes=prefixes)

    def build(self, file: WeightFile, detection: Detection) -> Parts:
        """The parts of a detected file, weights mapped; ModelFileError when they do not fit together."""
        config = detection.config
        assert isinstance(config, Config)  # detect() made it
        texts = build_texts(file, self.texts)
        return Parts(
            diffusion=self.build_network(file, config.network, mapped_names(file, PREFIX, lambda name: name)),
            texts=texts.built,
            joining=self.joining,
            vae=None if config.vae is None else config.vae.build(),
            missing=(*texts.missing, *(() if config.vae else ("VAE",))),
        )

    def build_diffusion(self, file: WeightFile, names: Mapping[str, str]) -> Diffusion | None:
        """The network of a file; None for one of another family.

        Raises ModelFileError when tensors are missing or do not fit together.
        """
        tensors = {original: file.tensors[name] for name, original in names.items()}
        return self.build_network(file, self.read_shape(file, tensors), names) if self.is_ours(tensors) else None
