"""Zero123 and Stable Zero123 (Liu et al. 2023, arXiv:2303.11328): SD1.x that draws a thing from another side."""

from __future__ import annotations

from executor.inference import latent_formats
from executor.inference.extras import Extra
from executor.inference.families.latent_diffusion import ZERO123 as MARK
from executor.inference.families.latent_diffusion import LatentDiffusion
from executor.inference.families.sd15 import is_sd15, picture_beside
from executor.inference.unet import UNetShape
from executor.inference.views import CameraProjection
from executor.inference.weights import WeightFile


def camera_projection(file: WeightFile, shape: UNetShape) -> tuple[Extra, ...]:
    """The layer for cameras that the file brings beside the network."""
    return (CameraProjection(weight=file.tensors[f"{MARK}weight"], bias=file.tensors[f"{MARK}bias"]),)


ZERO123 = LatentDiffusion(
    name="zero123",
    title="a Zero123",
    latent_format=latent_formats.SD15,
    texts=(),
    is_ours=is_sd15,
    channels={8: picture_beside},
    marks=(MARK,),
    vision="cond_stage_model.model.",
    read_beside=camera_projection,
)
