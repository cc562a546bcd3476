"""Names of a UNet's layers in diffusers' form. Knows its sizes and no tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from executor.inference.unet import BlockShape, UNetShape

TOP = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "label_emb": "class_embedding",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
MIDDLE = {"0": "mid_block.resnets.0", "1": "mid_block.attentions.0", "2": "mid_block.resnets.1"}


def diffusers_names(shape: UNetShape) -> dict[str, str]:
    """The name of every layer in a file → its name in diffusers' UNet2DConditionModel, without the kind of weight.

    Names within attentions are the same in both forms: the attention itself stands for all of them.
    """
    names = dict(TOP) | residual_names("middle_block.0", MIDDLE["0"]) | residual_names("middle_block.2", MIDDLE["2"])
    names["middle_block.1"] = MIDDLE["1"]
    level, place = 0, 0
    for number, block in enumerate(shape.input[1:], start=1):
        if block[0].kind == "down":
            names[f"input_blocks.{number}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
            level, place = level + 1, 0
            continue
        names |= block_names(f"input_blocks.{number}", f"down_blocks.{level}", place, block)
        place += 1
    level, place = 0, 0
    for number, block in enumerate(shape.output):
        names |= block_names(f"output_blocks.{number}", f"up_blocks.{level}", place, block)
        place += 1
        if block[-1].kind == "up":
            names[f"output_blocks.{number}.{len(block) - 1}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
            level, place = level + 1, 0
    return names


def block_names(ours: str, theirs: str, place: int, block: BlockShape) -> dict[str, str]:
    """The names of a block's residual layer and attention."""
    names = residual_names(f"{ours}.0", f"{theirs}.resnets.{place}")
    if len(block) > 1 and block[1].kind == "attention":
        names[f"{ours}.1"] = f"{theirs}.attentions.{place}"
    return names


def residual_names(ours: str, theirs: str) -> dict[str, str]:
    """The names of the layers of a residual block."""
    return {f"{ours}.{a}": f"{theirs}.{b}" for a, b in RESIDUAL.items()}


def diffusers_key(key: str, names: Mapping[str, str]) -> str:
    """A tensor's name in diffusers' form, by the names of its layers; itself where it has none there."""
    stem = key
    while "." in stem:
        stem = stem.rpartition(".")[0]
        if stem in names:
            return names[stem] + key[len(stem) :]
    return key
