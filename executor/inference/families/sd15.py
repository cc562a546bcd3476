"""Stable Diffusion 1.x (Rombach et al. 2022, arXiv:2112.10752), its inpainting form, and InstructPix2Pix."""

from __future__ import annotations

from executor.inference import latent_formats
from executor.inference.extras import Extra, MaskedPicture, PictureBeside
from executor.inference.families.latent_diffusion import LatentDiffusion, no_extras
from executor.inference.latent_formats import LatentFormat
from executor.inference.text.kinds import CLIP_L
from executor.inference.text.places import TextPlace
from executor.inference.unet import UNetShape


def is_sd15(shape: UNetShape) -> bool:
    """Whether attentions project by convolutions and there is no vector beside the time."""
    return not shape.linear and shape.vector is None


def masked_picture(shape: UNetShape, latent_format: LatentFormat) -> tuple[Extra, ...]:
    """The nine channels of inpainting."""
    return (MaskedPicture(latent_format=latent_format),)


def picture_beside(shape: UNetShape, latent_format: LatentFormat) -> tuple[Extra, ...]:
    """The eight channels of InstructPix2Pix, whose picture keeps the autoencoder's scale."""
    return (PictureBeside(latent_format=latent_format),)


SD15 = LatentDiffusion(
    name="sd15",
    title="an SD1.x",
    latent_format=latent_formats.SD15,
    texts=(TextPlace(prefix="cond_stage_model.transformer.", kind=CLIP_L),),
    is_ours=is_sd15,
    channels={4: no_extras, 8: picture_beside, 9: masked_picture},
)
