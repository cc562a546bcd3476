"""Stable Diffusion 3 and 3.5 (Esser et al. 2024, arXiv:2403.03206): medium, large, turbo, at any size."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from executor.errors import ModelFileError
from executor.inference import latent_formats
from executor.inference.building import build_part
from executor.inference.denoiser import ModelSampling, flow
from executor.inference.diffusion import LIVE_MAPS
from executor.inference.extras import PooledText
from executor.inference.families.base import Detection, Diffusion, Parts
from executor.inference.families.latent_diffusion import (
    UNET,
    VAE,
    below,
    build_vae_part,
    configured_heads,
    mapped_names,
    read_shape,
)
from executor.inference.families.ldm_vae import read_vae_shape
from executor.inference.families.mmdit_file import FIRST, is_in_diffusers_names, read_mmdit_shape, tensors_of_diffusers
from executor.inference.latent_formats import LatentFormat
from executor.inference.memory import Part, most_common_dtype
from executor.inference.mmdit import MMDiT, MMDiTShape
from executor.inference.text.joining import SD3 as SD3_JOINING
from executor.inference.text.joining import Joining
from executor.inference.text.places import SD3_TEXTS, BuiltText, Texts, build_texts
from executor.inference.vae_model import VaeShape
from executor.inference.weights import WeightFile

logger = logging.getLogger("weft.inference")
TOKENS = "embeddings.token_embedding.weight"  # of a CLIP
LIVE_ROWS = 12  # of the network's width for each token (measured: 9.0 in float32, 11.6 in 16 bits)
TEXT = 154  # tokens of a text: 77 of both CLIPs, and of T5 as many
SHIFT = 3.0  # of the noise levels, for pictures of 1024 x 1024 pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Sizes of the parts that a file holds."""

    mmdit: MMDiTShape
    vae: VaeShape | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StableDiffusion3:
    """The family of such files."""

    name: str = "sd3"
    latent_format: LatentFormat = latent_formats.SD3

    def sampling(self, file: WeightFile, network: Part[nn.Module]) -> ModelSampling:
        """Velocity, and noise levels shifted to the noisy side."""
        return flow(SHIFT)

    def detect(self, file: WeightFile) -> Detection | None:
        """The sizes of a checkpoint of the family; None for others. Text encoders and VAE may be missing.

        Raises ModelFileError when a part is of a kind that this version does not run.
        """
        if UNET + FIRST not in file.tensors:
            return None
        tensors = below(file.tensors, UNET)
        has_vae = any(name.startswith(VAE) for name in file.tensors)
        vae = read_shape(file, "VAE", lambda: read_vae_shape(below(file.tensors, VAE))) if has_vae else None
        return Detection(
            family=self.name,
            config=Config(mmdit=self._shape(file, tensors), vae=vae),
            dtype=most_common_dtype(tensors),
            prefixes={"diffusion": UNET, "vae": VAE},
        )

    def _shape(self, file: WeightFile, tensors: Mapping[str, Tensor]) -> MMDiTShape:
        heads = configured_heads(file, "unet")
        shape = read_shape(file, "transformer", lambda: read_mmdit_shape(tensors, heads))
        channels = self.latent_format.channels
        if (shape.in_channels, shape.out_channels) != (channels, channels):
            sides = f"{shape.in_channels} input channels and {shape.out_channels} output channels"
            reason = f"is a Stable Diffusion 3 model of {sides}"
            raise ModelFileError(file.path, reason, f"this version runs those of {channels} and {channels} channels")
        if shape.width % shape.heads:
            raise ModelFileError(file.path, f"{shape.heads} attention heads do not divide its width {shape.width}")
        return shape

    def build(self, file: WeightFile, detection: Detection) -> Parts:
        """The transformer, text models and autoencoder of a detected file, weights mapped.

        Raises ModelFileError when tensors are missing or do not fit together.
        """
        config = detection.config
        assert isinstance(config, Config)  # detect() made it
        vae = None if config.vae is None else build_vae_part(file, config.vae, VAE)
        names = mapped_names(file, UNET, lambda name: name)
        texts = build_texts(file, SD3_TEXTS)
        return Parts(
            diffusion=self._diffusion(file, config.mmdit, names),
            texts=texts.built,
            vae=vae,
            joining=joining(config.mmdit, texts.built),
            missing=missing_parts(file, texts, has_vae=vae is not None),
        )

    def build_diffusion(self, file: WeightFile, names: Mapping[str, str]) -> Diffusion | None:
        """The transformer of a file, in its own names or diffusers'; None for one of another family.

        Raises ModelFileError when tensors are missing or do not fit together.
        """
        tensors = {original: file.tensors[name] for name, original in names.items()}
        if is_in_diffusers_names(tensors):
            tensors = read_shape(file, "transformer", lambda: tensors_of_diffusers(file.tensors))
            file, names = replace(file, tensors=tensors), {name: name for name in tensors}
        if FIRST not in tensors:
            return None
        return self._diffusion(file, self._shape(file, tensors), names)

    def _diffusion(self, file: WeightFile, shape: MMDiTShape, names: Mapping[str, str]) -> Diffusion:
        part: Part[nn.Module] = build_part(file, "transformer", "diffusion", lambda: MMDiT(shape), names)
        return Diffusion(
            part=part,
            width=-(-shape.width * LIVE_ROWS // (shape.patch**2 * LIVE_MAPS)),
            text_cells=shape.patch**2 * TEXT,
            sampling=self.sampling(file, part),
            latent_format=self.latent_format,
            extras=(PooledText(width=shape.vector),),
        )


def joining(shape: MMDiTShape, texts: Sequence[BuiltText]) -> Joining:
    """How what the encoders give is joined for a transformer; zeros are as wide as what they stand for."""
    held = {kind.name: part.weights[TOKENS].shape[1] for kind, part in texts if TOKENS in part.weights}
    widths = {**SD3_JOINING.widths, **held}
    lacking = set(SD3_JOINING.beside) - held.keys()
    if len(lacking) == 1:  # the pooled vector is as wide as both
        widths[lacking.pop()] = shape.vector - sum(held.values())
    return replace(SD3_JOINING, widths=widths, width=shape.context)


def missing_parts(file: WeightFile, texts: Texts, *, has_vae: bool) -> tuple[str, ...]:
    """What outputs of a checkpoint are empty for; texts are read without some of the encoders, which the log tells."""
    if texts.built and texts.missing:
        logger.info("%s holds no %s: texts are read without", file.path.name, " and no ".join(texts.missing))
    return (*(() if texts.built else ("text encoder",)), *(() if has_vae else ("VAE",)))


SD3 = StableDiffusion3()
