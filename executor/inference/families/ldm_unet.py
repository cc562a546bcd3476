"""The UNet of latent diffusion files: sizes read from its tensors.

Holds for every file with `input_blocks`, `middle_block` and `output_blocks` (Rombach et al. 2022, arXiv:2112.10752).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from executor.inference.unet import BlockShape, LayerShape, UNetShape

CLASSED_HEADS = 8
VIDEO_MARK = ".time_stack."


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
