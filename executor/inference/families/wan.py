"""Wan 2.1 and 2.2 (Wan team 2025, arXiv:2503.20314) and the networks made after them, at any width and depth.

Videos from text, from a picture, between two, after a control (VideoX-Fun), and kept to others (VACE). Both halves of
Wan 2.2's larger model are files of this kind.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.denoiser import ModelSampling, flow
from executor.inference.extras import Extra
from executor.inference.families.base import Diffusion
from executor.inference.families.latent_diffusion import configured_heads, read_shape
from executor.inference.families.ldm_unet import count_under
from executor.inference.families.transformer import VAES, PlacedVae, TransformerFamily
from executor.inference.latent_formats import LatentFormat
from executor.inference.memory import Part
from executor.inference.text.places import WAN_TEXTS
from executor.inference.video_latent_formats import WAN21, WAN22
from executor.inference.wan import CELLS, Wan, WanShape
from executor.inference.wan_extras import (
    MASK,
    FramesBehind,
    FramesBeside,
    KeptFrames,
    KeptTo,
    LedByTokens,
    PictureBefore,
)
from executor.inference.wan_vae_file import build_wan_vae, wan_vae_prefix
from executor.inference.weights import WeightFile

MARKS = ("blocks.0.cross_attn.norm_k.weight", "head.modulation", "text_embedding.0.weight")
"""Tensors that all its networks have."""
FIRST = "blocks.0."
HEAD_WIDTH = 128
SHIFT = 8.0  # of the noise levels
FOREIGN = {
    "control_adapter.": "a Wan model that a camera leads",
    "face_adapter.": "a Wan Animate model",
    "audio_proj.": "a HuMo model",
    "casual_audio_encoder.": "a Wan model that sound leads",
    "audio_injector.": "a Wan model that sound leads",
}
"""Parts of names that only networks have which this version does not run."""
TAKES = "networks for text, pictures, first and last pictures, VideoX-Fun's controls and VACE fit here"
FORMATS = {16: WAN21, 48: WAN22}
"""Channels of a network's answer → its latents."""


def sampling(network: Part[nn.Module]) -> ModelSampling:
    """Velocity, and noise levels shifted to the noisy side."""
    return flow(SHIFT)


def diffusion(file: WeightFile, shape: WanShape, names: Mapping[str, str]) -> Diffusion:
    """A network of these sizes and how it is sampled; ModelFileError when tensors do not fit together."""
    part: Part[nn.Module] = build_part(file, "network", "diffusion", lambda: Wan(shape), names)
    latent_format = FORMATS[shape.out_channels]
    return Diffusion(
        part=part,
        width=-(-shape.width // CELLS),  # for each cell; its maps are of tokens
        sampling=sampling(part),
        latent_format=latent_format,
        extras=extras(shape, latent_format),
    )


def placed_wan_vae(file: WeightFile) -> PlacedVae | None:
    """The autoencoder of videos that a checkpoint holds."""
    prefix = wan_vae_prefix(file.tensors, VAES)
    return None if prefix is None else PlacedVae(prefix=prefix, build=lambda: build_wan_vae(file, prefix))


def is_wan(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are tensors of such a network, by its own names."""
    return all(mark in tensors for mark in MARKS)


def extras(shape: WanShape, latent_format: LatentFormat) -> tuple[Extra, ...]:
    """What a network of these sizes takes beside latents, times and text."""
    found: list[Extra] = [FramesBehind(latent_format=latent_format)]
    if shape.picture:
        found.append(LedByTokens(width=shape.picture))
    if shape.in_channels > shape.out_channels:
        latents, masked_at = beside(shape)
        found.append(FramesBeside(latent_format=latent_format, latents=latents, masked_at=masked_at))
    if shape.reference:
        found.append(PictureBefore(latent_format=latent_format))
    if shape.vace_blocks:
        found.append(KeptTo(latent_format=latent_format, channels=shape.vace_channels))
    if latent_format is WAN22:
        found.append(KeptFrames())
    return tuple(found)


def beside(shape: WanShape) -> tuple[int, int | None]:
    """How many channels of latents stand beside a network's own, and how many of them before those of the mask."""
    more, own = shape.in_channels - shape.out_channels, shape.out_channels
    return {own + MASK: (own, 0), 2 * own: (2 * own, None), 2 * own + MASK: (2 * own, own)}[more]


def wan_shape(file: WeightFile, tensors: Mapping[str, Tensor]) -> WanShape:
    """Sizes of a network; ModelFileError where a tensor lacks, or sizes are none that can be."""
    for mark, what in FOREIGN.items():
        if any(name.startswith(mark) for name in tensors):
            raise ModelFileError(file.path, f"is {what}, which this version does not run", TAKES)
    heads = configured_heads(file, "unet")
    shape = read_shape(file, "network", lambda: read_wan_shape(tensors, heads))
    own = shape.out_channels
    if own not in FORMATS or shape.in_channels - own not in (0, own + MASK, 2 * own, 2 * own + MASK):
        raise ModelFileError(file.path, f"is a Wan model of {shape.in_channels} input and {own} output channels", TAKES)
    if shape.width % (2 * shape.heads):
        raise ModelFileError(file.path, f"{shape.heads} attention heads do not divide its width {shape.width}")
    return shape


def read_wan_shape(tensors: Mapping[str, Tensor], heads: int | None = None) -> WanShape:
    """Sizes of a network from its tensors by its own names; KeyError when it lacks one that tells them."""
    width, channels = tensors["patch_embedding.weight"].shape[:2]
    led, places = tensors.get("img_emb.proj.1.weight"), tensors.get("img_emb.emb_pos")
    first, control = tensors.get("ref_conv.weight"), tensors.get("vace_patch_embedding.weight")
    return WanShape(
        in_channels=channels,
        out_channels=tensors["head.head.weight"].shape[0] // CELLS,
        width=width,
        heads=heads or max(1, width // HEAD_WIDTH),
        inner=tensors[f"{FIRST}ffn.0.weight"].shape[0],
        blocks=count_under(tensors, "blocks."),
        context=tensors["text_embedding.0.weight"].shape[1],
        waves=tensors["time_embedding.0.weight"].shape[1],
        picture=0 if led is None else led.shape[1],
        picture_places=0 if places is None else places.shape[1],
        reference=0 if first is None else first.shape[1],
        vace_blocks=0 if control is None else count_under(tensors, "vace_blocks."),
        vace_channels=0 if control is None else control.shape[1],
    )


WAN = TransformerFamily(
    name="wan",
    latent_format=WAN21,
    is_ours=is_wan,
    read_shape=wan_shape,
    read_sampling=sampling,
    build_network=diffusion,
    find_vae=placed_wan_vae,
    texts=WAN_TEXTS,
)
