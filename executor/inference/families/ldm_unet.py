"""The UNet of latent diffusion files: sizes read from its tensors, and its layers' names in diffusers' form.

Holds for every file with `input_blocks`, `middle_block` and `output_blocks` (Rombach et al. 2022, arXiv:2112.10752).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from executor.inference.unet import BlockShape, LayerShape, UNetShape

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
CLASSED_HEADS = 8
VIDEO_MARK = ".time_stack."
MIDDLE = {"0": "mid_block.resnets.0", "1": "mid_block.attentions.0", "2": "mid_block.resnets.1"}


def read_unet_shape(
    tensors: Mapping[str, Tensor], heads: int | None = None, head_width: int | None = None
) -> UNetShape:
    """Sizes of a UNet from its tensors by their names below the prefix; KeyError when it has not the usual parts.

    Head counts are not in the tensors: `heads`, or as many of `head_width` as fit, or, as in SD1.x, 8, lowered to a
    divisor of every attending width. Without `out` and output blocks it is the half that a ControlNet has.
    """
    contexts = [tensors[name].shape[1] for name in tensors if name.endswith("transformer_blocks.0.attn2.to_k.weight")]
    inputs = read_blocks(tensors, "input_blocks")
    if not inputs:
        raise KeyError("input_blocks.0.0.weight")
    width = inputs[0][0].out
    vector, classes = tensors.get("label_emb.0.0.weight"), tensors.get("label_emb.weight")
    if classes is not None:  # the x4 upscaler has eight heads at every width
        heads, head_width = heads or CLASSED_HEADS, None
    return UNetShape(
        in_channels=inputs[0][0].into,
        out_channels=tensors["out.2.weight"].shape[0] if "out.2.weight" in tensors else inputs[0][0].into,
        width=width,
        embedding=tensors["time_embed.0.weight"].shape[0],
        context=contexts[0] if contexts else None,
        input=inputs,
        middle=read_middle(tensors, may_lack=vector is not None),
        output=read_blocks(tensors, "output_blocks"),
        vector=None if vector is None else vector.shape[1],
        classes=None if classes is None else classes.shape[0],
        linear=any(name.endswith(".proj_in.weight") and len(tensor.shape) == 2 for name, tensor in tensors.items()),
        heads=heads,
        head_width=head_width,
        video=any(VIDEO_MARK in name for name in tensors),
    )


def read_blocks(tensors: Mapping[str, Tensor], side: str) -> tuple[BlockShape, ...]:
    """The blocks of one side, in order."""
    count = count_under(tensors, f"{side}.")
    return tuple(read_block(tensors, f"{side}.{number}.") for number in range(count))


def read_middle(tensors: Mapping[str, Tensor], *, may_lack: bool) -> BlockShape:
    """The layers between both sides; networks made smaller from SDXL may have none (KOALA)."""
    if may_lack and not any(name.startswith("middle_block.") for name in tensors):
        return ()
    return read_block(tensors, "middle_block.")


def read_block(tensors: Mapping[str, Tensor], prefix: str) -> BlockShape:
    """The layers of one block; KeyError naming the tensor that its first layer lacks."""
    inside = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    layers = tuple(read_layer(inside, str(place)) for place in range(count_under(inside, "")))
    found = tuple(layer for layer in layers if layer is not None)
    if len(found) < len(layers) or not found:
        raise KeyError(f"{prefix}0.in_layers.2.weight")
    return found


def read_layer(tensors: Mapping[str, Tensor], place: str) -> LayerShape | None:
    """One layer of a block, by the tensors that it has; None for one of no known kind."""
    if (weight := tensors.get(f"{place}.in_layers.2.weight")) is not None:
        return LayerShape(kind="residual", into=weight.shape[1], out=weight.shape[0])
    if (weight := tensors.get(f"{place}.proj_in.weight")) is not None:
        depth = count_under(tensors, f"{place}.transformer_blocks.")
        key = tensors.get(f"{place}.transformer_blocks.0.attn1.to_k.weight")
        own = key is None or key.shape[1] == weight.shape[0]
        return LayerShape(kind="attention", into=weight.shape[1], out=weight.shape[0], depth=depth, own=own)
    if (weight := tensors.get(f"{place}.op.weight")) is not None:
        return LayerShape(kind="down", into=weight.shape[1], out=weight.shape[0])
    if (weight := tensors.get(f"{place}.conv.weight")) is not None:
        return LayerShape(kind="up", into=weight.shape[1], out=weight.shape[0])
    if (weight := tensors.get(f"{place}.weight")) is not None and len(weight.shape) == 4:
        return LayerShape(kind="conv", into=weight.shape[1], out=weight.shape[0])
    return None


def count_under(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered children stand below a prefix."""
    return len({name[len(prefix) :].split(".", 1)[0] for name in tensors if name.startswith(prefix)})


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
