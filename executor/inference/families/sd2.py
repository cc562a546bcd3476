"""Stable Diffusion 2.x (Stability AI 2022): OpenCLIP-H reads the text, the network predicts noise or v."""

from __future__ import annotations

import torch
from torch import nn

from executor.inference import latent_formats
from executor.inference.denoiser import ModelSampling, discrete_v
from executor.inference.extras import NUMBER_WIDTH, REFINER_NUMBERS, Extra
from executor.inference.families.latent_diffusion import UNCLIP, LatentDiffusion, no_extras
from executor.inference.families.prediction import probed_sampling, told_sampling
from executor.inference.families.sd15 import masked_picture
from executor.inference.memory import Part
from executor.inference.text.kinds import CLIP_H
from executor.inference.text.places import TextPlace
from executor.inference.unclip import PictureVectors, cosine_alpha_bars
from executor.inference.unet import UNetShape
from executor.inference.weights import WeightFile


def is_sd2(shape: UNetShape) -> bool:
    """Whether attentions project linearly and there is nothing beside the time."""
    return shape.linear and shape.vector is None and shape.classes is None


def asked_sampling(file: WeightFile, network: Part[nn.Module]) -> ModelSampling:
    """What the file says, else what the network itself shows."""
    return told_sampling(file) or probed_sampling(network)


UNCLIP_CONTEXT, UNCLIP_VECTORS = 1024, (1536, 2048)
"""Of the published models: vectors of ViT-L and ViT-H, each with a noise level of the same width."""
NARROWEST_SIZES = REFINER_NUMBERS * NUMBER_WIDTH  # SDXL's vectors, of text and sizes, are wider


def is_unclip(shape: UNetShape) -> bool:
    """Whether the vector beside the time can only be that of pictures."""
    if not shape.linear or shape.vector is None:
        return False
    return shape.vector < NARROWEST_SIZES or (shape.context == UNCLIP_CONTEXT and shape.vector in UNCLIP_VECTORS)


def picture_vectors(file: WeightFile, shape: UNetShape) -> tuple[Extra, ...]:
    """Pictures' vectors, brought to the scale that the file tells; where it tells none they are in it."""
    width = (shape.vector or 0) // 2
    mean, deviation = (file.tensors.get(f"{UNCLIP}data_{name}") for name in ("mean", "std"))
    bars = file.tensors.get(f"{UNCLIP}alphas_cumprod")
    return (
        PictureVectors(
            width=width,
            mean=torch.zeros(1, width) if mean is None else mean.float(),
            deviation=torch.ones(1, width) if deviation is None else deviation.float(),
            alpha_bars=cosine_alpha_bars() if bars is None else bars.float(),
        ),
    )


def unclip_sampling(file: WeightFile, network: Part[nn.Module]) -> ModelSampling:
    """What the file says, else v prediction, as the published models were trained."""
    return told_sampling(file) or discrete_v()


SD2 = LatentDiffusion(
    name="sd2",
    title="an SD2.x",
    latent_format=latent_formats.SD15,
    texts=(TextPlace(prefix="cond_stage_model.model.", kind=CLIP_H),),
    is_ours=is_sd2,
    channels={4: no_extras, 9: masked_picture},
    read_sampling=asked_sampling,
)

SD2_UNCLIP = LatentDiffusion(
    name="sd2_unclip",
    title="an SD2.x unCLIP",
    latent_format=latent_formats.SD15,
    texts=(TextPlace(prefix="cond_stage_model.model.", kind=CLIP_H),),
    is_ours=is_unclip,
    channels={4: no_extras},
    may_have=(UNCLIP,),
    vision="embedder.model.",
    read_beside=picture_vectors,
    read_sampling=unclip_sampling,
)
"""Stable unCLIP: pictures lead beside text."""
