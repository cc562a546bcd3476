"""Qwen-Image and Qwen-Image-Edit (Wu et al. 2025, arXiv:2508.02324), at any width and depth.

Edit has other weights, and conditionings with the pictures that it sees; files do not tell one from the other.
Latents are Wan's, of one frame.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.denoiser import ModelSampling, flow
from executor.inference.families.base import Diffusion
from executor.inference.families.latent_diffusion import read_shape
from executor.inference.families.ldm_unet import count_under
from executor.inference.families.transformer import TransformerFamily
from executor.inference.families.wan import placed_wan_vae
from executor.inference.memory import Part
from executor.inference.qwen_image import AT_ZERO, QwenImage, QwenImageShape
from executor.inference.qwen_image_extras import SeenPictures
from executor.inference.text.joining import QWEN_IMAGE as JOINING
from executor.inference.text.places import QWEN_IMAGE_TEXTS
from executor.inference.video_latent_formats import WAN21
from executor.inference.weights import WeightFile

FIRST = "transformer_blocks.0."
NORM = f"{FIRST}attn.norm_q.weight"
TIME = "time_text_embed.timestep_embedder.linear_1.weight"
MARKS = (f"{FIRST}img_mod.1.weight", NORM, "txt_norm.weight", TIME)
"""Tensors that all its networks have."""
SHIFT = 1.15  # of the noise levels
LAYERED = "time_text_embed.addition_t_embedding.weight"
TAKES = "networks of 64 features per token fit here: Qwen-Image and Qwen-Image-Edit"


def sampling(network: Part[nn.Module]) -> ModelSampling:
    """Velocity, noise levels shifted a little to the noisy side; the level itself is the time."""
    return flow(SHIFT, 1.0)


def diffusion(file: WeightFile, shape: QwenImageShape, names: Mapping[str, str]) -> Diffusion:
    """A network of these sizes and how it is sampled; ModelFileError when tensors do not fit together."""
    part: Part[nn.Module] = build_part(file, "network", "diffusion", lambda: QwenImage(shape), names)
    return Diffusion(
        part=part,
        width=shape.width // 2,  # as Flux's: a token of four cells has some 24 rows of its width alive
        sampling=sampling(part),
        latent_format=WAN21,
        extras=(SeenPictures(latent_format=WAN21),),
    )


def is_qwen_image(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are tensors of such a network."""
    return all(mark in tensors for mark in MARKS)


def qwen_image_shape(file: WeightFile, tensors: Mapping[str, Tensor]) -> QwenImageShape:
    """Sizes of a network; ModelFileError where a tensor lacks, or sizes are none that can be."""
    if LAYERED in tensors:
        raise ModelFileError(file.path, "is a Qwen-Image-Layered model, which this version does not run", TAKES)
    shape = read_shape(file, "network", lambda: read_qwen_image_shape(tensors))
    if shape.width % shape.heads or (shape.width // shape.heads) % 2:
        raise ModelFileError(file.path, f"{shape.heads} attention heads do not divide its width {shape.width}")
    if (shape.in_channels, shape.out_channels) != (WAN21.channels, WAN21.channels):
        sides = f"{shape.in_features} input features and {shape.out_features} output features"
        raise ModelFileError(file.path, f"is a Qwen-Image model of {sides}", TAKES)
    return shape


def read_qwen_image_shape(tensors: Mapping[str, Tensor]) -> QwenImageShape:
    """Sizes of a network from its tensors; KeyError when it lacks one that tells them."""
    width, features = tensors["img_in.weight"].shape
    return QwenImageShape(
        in_features=features,
        out_features=tensors["proj_out.weight"].shape[0],
        width=width,
        heads=max(1, width // tensors[NORM].shape[0]),
        inner=tensors[f"{FIRST}img_mlp.net.0.proj.weight"].shape[0],
        blocks=count_under(tensors, "transformer_blocks."),
        context=tensors["txt_in.weight"].shape[1],
        waves=tensors[TIME].shape[1],
        mark=tuple(tensors[AT_ZERO].shape) if AT_ZERO in tensors else None,
    )


QWEN_IMAGE = TransformerFamily(
    name="qwen_image",
    latent_format=WAN21,
    is_ours=is_qwen_image,
    read_shape=qwen_image_shape,
    read_sampling=sampling,
    build_network=diffusion,
    find_vae=placed_wan_vae,
    texts=QWEN_IMAGE_TEXTS,
    joining=JOINING,
)
