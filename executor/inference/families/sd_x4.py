"""Stable Diffusion's x4 upscaler (Stability AI 2022): an SD2.x network that sees the small picture beside its latents.

Its picture is noised to a level that the network is told (Ho et al. 2021, arXiv:2106.15282, section 3); its autoencoder
halves sides twice, so that latents have the size of the small picture.
"""

from __future__ import annotations

from torch import nn

from executor.inference import latent_formats
from executor.inference.denoiser import ModelSampling, VPrediction
from executor.inference.extras import Extra
from executor.inference.families.latent_diffusion import LatentDiffusion
from executor.inference.latent_formats import LatentFormat
from executor.inference.memory import Part
from executor.inference.noise_levels import DiscreteLevels, alpha_bars, scaled_linear_betas, sigmas_of_alpha_bars
from executor.inference.noised_picture import NoisedPicture
from executor.inference.text.kinds import CLIP_H
from executor.inference.text.places import TextPlace
from executor.inference.unet import UNetShape
from executor.inference.weights import WeightFile

FIRST_BETA, LAST_BETA = 0.0001, 0.02  # numeric/tables.json, SD_X4Upscaler


def is_x4(shape: UNetShape) -> bool:
    """Whether the network is told a level by a number of a table."""
    return shape.linear and shape.classes is not None


def small_picture(shape: UNetShape, latent_format: LatentFormat) -> tuple[Extra, ...]:
    """The three channels of the small picture, and its noise level."""
    return (NoisedPicture(alpha_bars=tuple(alpha_bars(scaled_linear_betas(1000, FIRST_BETA, LAST_BETA)).tolist())),)


def v_sampling(file: WeightFile, network: Part[nn.Module]) -> ModelSampling:
    """v prediction over levels of its own."""
    bars = alpha_bars(scaled_linear_betas(1000, FIRST_BETA, LAST_BETA))
    return ModelSampling(VPrediction(), DiscreteLevels(sigmas_of_alpha_bars(bars)))


SD_X4 = LatentDiffusion(
    name="sd_x4",
    title="an SD x4 upscaler",
    latent_format=latent_formats.SD_X4,
    texts=(TextPlace(prefix="cond_stage_model.model.", kind=CLIP_H),),
    is_ours=is_x4,
    channels={7: small_picture},
    read_sampling=v_sampling,
)
