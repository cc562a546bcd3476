"""Flux.1 (Black Forest Labs 2024): dev, schnell, fill, canny, depth and Kontext, at any width and depth.

Kontext is dev with other weights. Checkpoints hold CLIP-L and T5 beside the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.denoiser import ModelSampling, flow, flux
from executor.inference.diffusion import LIVE_MAPS
from executor.inference.extras import Extra
from executor.inference.families.base import Diffusion
from executor.inference.families.latent_diffusion import below, build_vae_part, read_shape
from executor.inference.families.ldm_unet import count_under
from executor.inference.families.ldm_vae import read_vae_shape
from executor.inference.families.transformer import VAES, PlacedVae, TransformerFamily
from executor.inference.flux import Flux, FluxShape
from executor.inference.flux_extras import Beside, FurtherPictures, Guidance, MindedTokens, TextVector
from executor.inference.flux_tokens import CELLS
from executor.inference.latent_formats import FLUX
from executor.inference.memory import Part
from executor.inference.text import joining
from executor.inference.text.places import FLUX_TEXTS
from executor.inference.weights import WeightFile

MARKS = ("double_blocks.0.img_mod.lin.weight", "single_blocks.0.modulation.lin.weight", "vector_in.in_layer.weight")
"""Tensors that all its networks have; those made after its outline (Chroma, Hunyuan Video, Flux.2) lack one of them."""
FIRST, NORM = "double_blocks.0.", "double_blocks.0.img_attn.norm.query_norm.scale"
TAKES = "networks of 64, 128 and 384 features per token fit here: text to picture, a picture beside, and filling"


LIVE_ROWS = 17  # of the network's width for each token (measured: 12.5 in float32, 15.8 in 16 bits)
TEXT = 512  # tokens at most, as T5 reads texts for it
CHANNELS = (16, 32, 96)
"""Of latents with what stands beside them: nothing, a picture, a picture and where to fill it."""


def sampling(network: Part[nn.Module]) -> ModelSampling:
    """Straight paths; networks that were taught guidance shift them towards noise."""
    module = network.module
    assert isinstance(module, Flux)
    return flux() if module.shape.guidance else flow(1.0, 1.0)


def diffusion(file: WeightFile, shape: FluxShape, names: Mapping[str, str]) -> Diffusion:
    """A network of these sizes and how it is sampled; ModelFileError when tensors do not fit together."""
    part: Part[nn.Module] = build_part(file, "network", "diffusion", lambda: Flux(shape), names)
    guided: tuple[Extra, ...] = (Guidance(),) if shape.guidance else ()
    module = cast(Flux, part.module)
    beside = Beside(latent_format=FLUX, channels=lambda: module.taken_channels)
    further = FurtherPictures(latent_format=FLUX)
    return Diffusion(
        part=part,
        width=-(-shape.width * LIVE_ROWS // (CELLS * LIVE_MAPS)),
        text_cells=CELLS * TEXT,
        sampling=sampling(part),
        latent_format=FLUX,
        extras=(TextVector(width=shape.vector), *guided, MindedTokens(), further, beside),
    )


def find_vae(file: WeightFile) -> PlacedVae | None:
    """The autoencoder of a checkpoint; ModelFileError when a tensor lacks that tells its sizes."""
    prefix = next((each for each in VAES if f"{each}decoder.conv_in.weight" in file.tensors), None)
    if prefix is None:
        return None
    shape = read_shape(file, "VAE", lambda: read_vae_shape(below(file.tensors, prefix)))
    return PlacedVae(prefix=prefix, build=lambda: build_vae_part(file, shape, prefix))


def is_flux(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are tensors of such a network, by its own names."""
    return all(mark in tensors for mark in MARKS)


def flux_shape(file: WeightFile, tensors: Mapping[str, Tensor]) -> FluxShape:
    """Sizes of a network; ModelFileError where a tensor lacks, or sizes are none that can be."""
    shape = read_shape(file, "network", lambda: read_flux_shape(tensors))
    if shape.width % shape.heads:
        raise ModelFileError(file.path, f"{shape.heads} attention heads do not divide its width {shape.width}")
    if shape.in_channels not in CHANNELS or shape.out_channels != FLUX.channels:
        sides = f"{shape.in_features} input features and {shape.out_features} output features"
        raise ModelFileError(file.path, f"is a Flux model of {sides}", TAKES)
    return shape


def read_flux_shape(tensors: Mapping[str, Tensor]) -> FluxShape:
    """Sizes of a network from its tensors by its own names; KeyError when it lacks one that tells them."""
    width, features = tensors["img_in.weight"].shape
    return FluxShape(
        in_features=features,
        out_features=tensors["final_layer.linear.weight"].shape[0],
        width=width,
        heads=max(1, width // tensors[NORM].shape[0]),
        inner=tensors[f"{FIRST}img_mlp.0.weight"].shape[0],
        double_blocks=count_under(tensors, "double_blocks."),
        single_blocks=count_under(tensors, "single_blocks."),
        context=tensors["txt_in.weight"].shape[1],
        vector=tensors["vector_in.in_layer.weight"].shape[1],
        waves=tensors["time_in.in_layer.weight"].shape[1],
        guidance="guidance_in.in_layer.weight" in tensors,
        bias=f"{FIRST}img_attn.qkv.bias" in tensors,
    )


FLUX_1 = TransformerFamily(
    name="flux",
    latent_format=FLUX,
    is_ours=is_flux,
    read_shape=flux_shape,
    read_sampling=sampling,
    build_network=diffusion,
    find_vae=find_vae,
    texts=FLUX_TEXTS,
    joining=joining.FLUX,
)
