"""Stable Video Diffusion (Blattmann et al. 2023, arXiv:2311.15127): a picture and a few numbers lead a video.

SVD and SVD-XT differ in their weights and in how many frames they were trained for, which nothing in a file tells.
"""

from __future__ import annotations

from torch import nn

from executor.inference import latent_formats
from executor.inference.denoiser import ModelSampling, VPrediction, continuous_edm
from executor.inference.extras import NUMBER_WIDTH, Extra, Frames, Numbers, PictureBeside
from executor.inference.families.latent_diffusion import VIDEO, LatentDiffusion
from executor.inference.families.prediction import told_sampling
from executor.inference.latent_formats import LatentFormat
from executor.inference.memory import Part
from executor.inference.unet import UNetShape
from executor.inference.views import ANGLE_WIDTH, Orbit
from executor.inference.weights import WeightFile

SIGMA_MIN, SIGMA_MAX = 0.002, 700.0
NUMBERS = {"fps": 6.0, "motion_bucket_id": 127.0, "augmentation_level": 0.0}
VISION = "conditioner.embedders.0.open_clip.model."


def is_svd(shape: UNetShape) -> bool:
    """Whether its layers mix frames, and its vector is made of three numbers."""
    return shape.video and shape.vector == len(NUMBERS) * NUMBER_WIDTH


def picture_beside(shape: UNetShape, latent_format: LatentFormat) -> tuple[Extra, ...]:
    """The leading picture's latents, in the autoencoder's scale."""
    return (PictureBeside(latent_format=latent_format),)


def video_numbers(shape: UNetShape, latent_format: LatentFormat) -> tuple[Extra, ...]:
    """Speed, motion and how noisy the leading picture was made; the network counts speeds from zero."""
    return (Numbers(names=NUMBERS, offsets={"fps": -1.0}), Frames())


def video_sampling(file: WeightFile, network: Part[nn.Module]) -> ModelSampling:
    """What the file says, else v prediction on continuous levels, as trained."""
    return told_sampling(file) or continuous_edm(VPrediction(), SIGMA_MIN, SIGMA_MAX)


SVD = LatentDiffusion(
    name="svd",
    title="an SVD",
    latent_format=latent_formats.SD15,
    texts=(),
    is_ours=is_svd,
    channels={8: picture_beside},
    vector=video_numbers,
    marks=(VIDEO,),
    vision=VISION,
    read_sampling=video_sampling,
)

ORBIT_WIDTHS = (NUMBER_WIDTH, NUMBER_WIDTH + 2 * ANGLE_WIDTH)
"""Of SV3D's vectors: without and with the camera's place."""


def is_sv3d(shape: UNetShape) -> bool:
    """Whether its layers mix frames, and its vector tells no speed."""
    return shape.video and shape.vector in ORBIT_WIDTHS


def orbit(shape: UNetShape, latent_format: LatentFormat) -> tuple[Extra, ...]:
    """Where the camera stands."""
    return (Orbit(angled=shape.vector == ORBIT_WIDTHS[1]), Frames())


SV3D = LatentDiffusion(
    name="sv3d",
    title="an SV3D",
    latent_format=latent_formats.SD15,
    texts=(),
    is_ours=is_sv3d,
    channels={8: picture_beside},
    vector=orbit,
    marks=(VIDEO,),
    vision=VISION,
    read_sampling=video_sampling,
)
"""SV3D (Voleti et al. 2024, arXiv:2403.12008): the frames are views around a thing."""
