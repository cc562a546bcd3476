"""The autoencoder of latent diffusion files: sizes read from its tensors, and its names in ImageAutoencoder."""

import re
from collections.abc import Mapping

from torch import Tensor

from executor.inference.vae_model import VaeShape

SIDES = {"encoder": "down", "decoder": "up"}
ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
BLOCK = re.compile(r"(encoder|decoder)\.(?:down|up)\.(\d+)\.block\.(\d+)\.(.+)")
SAMPLER = re.compile(r"(encoder|decoder)\.(?:down|up)\.(\d+)\.(down|up)sample\.(.+)")
MIDDLE_BLOCK = re.compile(r"(encoder|decoder)\.mid\.block_(\d+)\.(.+)")
MIDDLE_ATTENTION = re.compile(r"(encoder|decoder)\.mid\.attn_1\.([^.]+)\.(\w+)")
TEMPORAL = ("time_stack.", "mix_factor")
LAST_TEMPORAL = "decoder.conv_out.time_mix_conv."
PLAIN = re.compile(r"(?:(?:encoder|decoder)\.(?:conv_in|conv_out|norm_out)|quant_conv|post_quant_conv)\.\w+")


def read_vae_shape(tensors: Mapping[str, Tensor]) -> VaeShape:
    """Sizes of an autoencoder from its tensors by their names below the prefix; KeyError when parts are missing."""
    return VaeShape(
        encoder_widths=read_widths(tensors, "encoder"),
        encoder_layers=read_layers(tensors, "encoder"),
        encoder_attends="encoder.mid.attn_1.q.weight" in tensors,
        decoder_widths=read_widths(tensors, "decoder"),
        decoder_layers=read_layers(tensors, "decoder") - 1,
        decoder_attends="decoder.mid.attn_1.q.weight" in tensors,
        latent_channels=tensors["decoder.conv_in.weight"].shape[1],
        video=f"{LAST_TEMPORAL}weight" in tensors,
        quantized="quant_conv.weight" in tensors,
    )


def read_widths(tensors: Mapping[str, Tensor], side: str) -> tuple[int, ...]:
    """Channels of each level, from the picture's side inwards."""
    levels = {int(found[2]) for found in map(BLOCK.fullmatch, tensors) if found and found[1] == side}
    prefix = f"{side}.{SIDES[side]}"
    return tuple(
        tensors[f"{prefix}.{level}.block.0.conv2.weight"].shape[0] for level in range(max(levels, default=0) + 1)
    )


def read_layers(tensors: Mapping[str, Tensor], side: str) -> int:
    """Residual blocks per level."""
    return len({found[3] for found in map(BLOCK.fullmatch, tensors) if found and found[1] == side and found[2] == "0"})


def vae_key(name: str, shape: VaeShape) -> str | None:
    """A tensor's name in ImageAutoencoder; None for one that has no place there."""
    if PLAIN.fullmatch(name):
        return name.replace("norm_out", "conv_norm_out")
    if name.startswith(LAST_TEMPORAL):
        return f"time_conv.{name.removeprefix(LAST_TEMPORAL)}"
    if found := MIDDLE_BLOCK.fullmatch(name):
        return f"{found[1]}.mid_block.resnets.{int(found[2]) - 1}.{residual(found[1], found[3], shape)}"
    if found := MIDDLE_ATTENTION.fullmatch(name):
        return f"{found[1]}.mid_block.attentions.0.{ATTENTION[found[2]]}.{found[3]}" if found[2] in ATTENTION else None
    if found := BLOCK.fullmatch(name):
        rest = found[4].replace("nin_shortcut", "conv_shortcut")
        level = level_name(found[1], int(found[2]), shape)
        return f"{level}.resnets.{found[3]}.{residual(found[1], rest, shape)}"
    if found := SAMPLER.fullmatch(name):
        return f"{level_name(found[1], int(found[2]), shape)}.{found[3]}samplers.0.{found[4]}"
    return None


def residual(side: str, rest: str, shape: VaeShape) -> str:
    """The module's name within a residual layer; the layers of a video's decoder hold one of pictures."""
    return f"spatial.{rest}" if shape.video and side == "decoder" and not rest.startswith(TEMPORAL) else rest


def level_name(side: str, level: int, shape: VaeShape) -> str:
    """The module's name of a level; it counts the decoder's from the inside."""
    if side == "encoder":
        return f"encoder.down_blocks.{level}"
    return f"decoder.up_blocks.{len(shape.decoder_widths) - 1 - level}"
