"""Stable Diffusion 2.x (Stability AI 2022): OpenCLIP-H reads the text, the network predicts noise or v."""

from __future__ import annotations

from torch import nn

from executor.inference import latent_formats
from executor.inference.denoiser import ModelSampling
from executor.inference.families.latent_diffusion import LatentDiffusion, TextPlace, no_extras
from executor.inference.families.prediction import probed_sampling, told_sampling
from executor.inference.families.sd15 import masked_picture
from executor.inference.memory import Part
from executor.inference.text.encoder import CLIP_H
from executor.inference.unet import UNetShape
from executor.inference.weights import WeightFile


def is_sd2(shape: UNetShape) -> bool:
    """Whether attentions project linearly and there is nothing beside the time."""
    return shape.linear and shape.vector is None and shape.classes is None


def asked_sampling(file: WeightFile, network: Part[nn.Module]) -> ModelSampling:
    """What the file says, else what the network itself shows."""
    return told_sampling(file) or probed_sampling(network)


SD2 = LatentDiffusion(
    name="sd2",
    title="an SD2.x",
    latent_format=latent_formats.SD15,
    texts=(TextPlace(prefix="cond_stage_model.model.", kind=CLIP_H),),
    is_ours=is_sd2,
    channels={4: no_extras, 9: masked_picture},
    read_sampling=asked_sampling,
)
