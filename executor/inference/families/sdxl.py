"""Stable Diffusion XL (Podell et al. 2023, arXiv:2307.01952): base, refiner, and what was made of the base.

Turbo and Lightning are the base with other weights; so is Playground 2.5, in another latent space.
"""

from __future__ import annotations

from torch import nn

from executor.inference import latent_formats
from executor.inference.denoiser import ModelSampling, discrete_eps
from executor.inference.extras import (
    BASE_NUMBERS,
    NUMBER_WIDTH,
    REFINER_NUMBERS,
    Extra,
    MaskedPicture,
    PictureBeside,
    SizeVector,
)
from executor.inference.families.latent_diffusion import LatentDiffusion, no_extras
from executor.inference.families.prediction import edm, told_sampling
from executor.inference.families.sd2 import is_unclip
from executor.inference.latent_formats import PLAYGROUND_25, LatentFormat
from executor.inference.memory import Part
from executor.inference.text.kinds import CLIP_G, CLIP_L_RAW
from executor.inference.text.places import TextPlace
from executor.inference.unet import UNetShape
from executor.inference.weights import WeightFile

PLAYGROUND_MARK = "edm_mean"


def is_refiner(shape: UNetShape) -> bool:
    """Whether the vector is the text's whole width and five numbers: one encoder, which pools as wide as it is."""
    return has_vector(shape) and shape.vector == (shape.context or 0) + REFINER_NUMBERS * NUMBER_WIDTH


def is_base(shape: UNetShape) -> bool:
    """Whether the vector is a part of the text's width and six numbers."""
    pooled = (shape.vector or 0) - BASE_NUMBERS * NUMBER_WIDTH
    return has_vector(shape) and 0 < pooled < (shape.context or 0)


def has_vector(shape: UNetShape) -> bool:
    """Whether attentions project linearly beside a vector; unCLIP's vector is twice a picture's."""
    return shape.linear and not shape.video and shape.vector is not None and not is_unclip(shape)


def size_vector(shape: UNetShape, latent_format: LatentFormat) -> tuple[Extra, ...]:
    """Pooled text, sizes and places."""
    return (SizeVector(pooled=(shape.vector or 0) - BASE_NUMBERS * NUMBER_WIDTH),)


def score_vector(shape: UNetShape, latent_format: LatentFormat) -> tuple[Extra, ...]:
    """Pooled text, size, place and an aesthetic score."""
    return (SizeVector(pooled=(shape.vector or 0) - REFINER_NUMBERS * NUMBER_WIDTH, refiner=True),)


def masked_picture(shape: UNetShape, latent_format: LatentFormat) -> tuple[Extra, ...]:
    """The nine channels of inpainting."""
    return (MaskedPicture(latent_format=latent_format),)


def picture_beside(shape: UNetShape, latent_format: LatentFormat) -> tuple[Extra, ...]:
    """The eight channels of editing, whose picture comes in the network's scale."""
    return (PictureBeside(latent_format=latent_format, scaled=True),)


def base_sampling(file: WeightFile, network: Part[nn.Module]) -> ModelSampling:
    """What the file says, else EDM for Playground 2.5 and noise prediction for all others."""
    usual = edm() if PLAYGROUND_MARK in file.tensors else discrete_eps()
    return told_sampling(file) or usual


def base_format(file: WeightFile, usual: LatentFormat) -> LatentFormat:
    """SDXL's latents, or Playground 2.5's."""
    return PLAYGROUND_25 if PLAYGROUND_MARK in file.tensors else usual


SDXL = LatentDiffusion(
    name="sdxl",
    title="an SDXL",
    latent_format=latent_formats.SDXL,
    texts=(
        TextPlace(prefix="conditioner.embedders.0.transformer.", kind=CLIP_L_RAW),
        TextPlace(prefix="conditioner.embedders.1.model.", kind=CLIP_G),
    ),
    is_ours=is_base,
    channels={4: no_extras, 8: picture_beside, 9: masked_picture},
    vector=size_vector,
    read_sampling=base_sampling,
    read_format=base_format,
)

SDXL_REFINER = LatentDiffusion(
    name="sdxl_refiner",
    title="an SDXL refiner",
    latent_format=latent_formats.SDXL,
    texts=(TextPlace(prefix="conditioner.embedders.0.model.", kind=CLIP_G),),
    is_ours=is_refiner,
    channels={4: no_extras},
    vector=score_vector,
)
