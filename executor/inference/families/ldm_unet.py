"""The UNet of latent diffusion files: sizes read from its tensors, and its names in diffusers' module.

Holds for every file with `input_blocks`, `middle_block` and `output_blocks` (Rombach et al. 2022, arXiv:2112.10752).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from executor.inference.vae_model import fit_groups

TOP = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
MIDDLE = {"0": "mid_block.resnets.0", "1": "mid_block.attentions.0", "2": "mid_block.resnets.1"}
NUMBERED = re.compile(r"(input_blocks|middle_block|output_blocks)\.(\d+)\.(.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetShape:
    """Sizes of a UNet, level by level from the widest picture inwards."""

    in_channels: int
    out_channels: int
    widths: tuple[int, ...]
    layers: tuple[int, ...]  # residual blocks on the way down
    attends: tuple[bool, ...]
    depths: tuple[int, ...]  # transformer blocks per attention, 1 where a level has none
    context: int
    heads: tuple[int, ...]

    @property
    def blocks_down(self) -> tuple[tuple[int, int], ...]:
        """(level, place) of every input block behind the first; the place behind the last layer is the downsampler."""
        last = len(self.widths) - 1
        return tuple((b, r) for b, n in enumerate(self.layers) for r in range(n + (b < last)))

    @property
    def blocks_up(self) -> tuple[tuple[int, int], ...]:
        """(level counted from the inside, place) of every output block."""
        return tuple((b, r) for b, n in enumerate(reversed(self.layers)) for r in range(n + 1))


def read_unet_shape(tensors: Mapping[str, Tensor], heads: int | None) -> UNetShape:
    """Sizes of a UNet from its tensors by their names below the prefix; KeyError when it has not the usual parts.

    Head counts are not in the tensors: `heads` or, as in SD1.x, 8, lowered to a divisor of every attending width.
    """
    widths, layers, attends, depths = [], [0], [], []
    width = tensors["input_blocks.0.0.weight"].shape[0]
    block = 1
    while any_under(tensors, f"input_blocks.{block}."):
        if f"input_blocks.{block}.0.op.weight" in tensors:
            widths.append(width)
            layers.append(0)
        else:
            width = tensors[f"input_blocks.{block}.0.out_layers.3.weight"].shape[0]
            layers[-1] += 1
            if layers[-1] == 1:
                attends.append(f"input_blocks.{block}.1.norm.weight" in tensors)
                depths.append(max(1, count_under(tensors, f"input_blocks.{block}.1.transformer_blocks.")))
        block += 1
    widths.append(width)
    if not attends[-1]:
        # diffusers builds the middle as deep as the innermost level
        depths[-1] = count_under(tensors, "middle_block.1.transformer_blocks.")
    context = tensors["middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1]
    attending = (*attends[:-1], True)  # the middle attends, at the innermost width
    return UNetShape(
        in_channels=tensors["input_blocks.0.0.weight"].shape[1],
        out_channels=tensors["out.2.weight"].shape[0],
        widths=tuple(widths),
        layers=tuple(layers),
        attends=tuple(attends),
        depths=tuple(depths),
        context=context,
        heads=tuple(heads_of(width, heads) if used else 1 for width, used in zip(widths, attending, strict=True)),
    )


def heads_of(width: int, heads: int | None) -> int:
    """The number of attention heads at a width: what the file says, else the most up to 8 that divide it."""
    return heads or next(n for n in range(8, 0, -1) if width % n == 0)


def any_under(tensors: Mapping[str, Tensor], prefix: str) -> bool:
    """Whether a name starts so."""
    return any(name.startswith(prefix) for name in tensors)


def count_under(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered children stand below a prefix."""
    return len({name[len(prefix) :].split(".", 1)[0] for name in tensors if name.startswith(prefix)})


def build_unet(shape: UNetShape) -> nn.Module:
    """diffusers' UNet2DConditionModel of these sizes; call it under the meta device."""
    # diffusers takes seconds to import; a worker is ready before its first model
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    down = tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in shape.attends)
    up = tuple("CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(shape.attends))
    unet: nn.Module = UNet2DConditionModel(
        in_channels=shape.in_channels,
        out_channels=shape.out_channels,
        down_block_types=down,
        up_block_types=up,
        block_out_channels=shape.widths,
        layers_per_block=shape.layers,
        transformer_layers_per_block=shape.depths,
        cross_attention_dim=shape.context,
        attention_head_dim=shape.heads,  # diffusers' name for the number of heads
        norm_num_groups=1,
    )
    fit_groups(unet)
    return unet


def unet_key(name: str, shape: UNetShape) -> str | None:
    """A tensor's name in diffusers' module; None for one that has no place there."""
    stem, _, kind = name.rpartition(".")
    if stem in TOP:
        return f"{TOP[stem]}.{kind}"
    found = NUMBERED.fullmatch(name)
    if found is None:
        return None
    side, block, rest = found[1], int(found[2]), found[3]
    if side == "middle_block":
        return f"{MIDDLE[found[2]]}.{inner(rest)}" if found[2] in MIDDLE else None
    blocks = shape.blocks_down if side == "input_blocks" else shape.blocks_up
    number = block - 1 if side == "input_blocks" else block
    if number >= len(blocks):
        return None
    level, place = blocks[number]
    child, _, rest = rest.partition(".")
    if side == "input_blocks":
        return down_key(level, place, child, rest)
    return up_key(level, place, child, rest)


def down_key(level: int, place: int, child: str, rest: str) -> str:
    """Name of a tensor on the way down: residual block, attention or downsampler."""
    block = f"down_blocks.{level}"
    if rest.startswith("op."):
        return f"{block}.downsamplers.0.conv.{rest.removeprefix('op.')}"
    return f"{block}.{'resnets' if child == '0' else 'attentions'}.{place}.{inner(rest)}"


def up_key(level: int, place: int, child: str, rest: str) -> str:
    """Name of a tensor on the way up: residual block, attention or upsampler."""
    block = f"up_blocks.{level}"
    if rest.startswith("conv."):
        return f"{block}.upsamplers.0.{rest}"
    return f"{block}.{'resnets' if child == '0' else 'attentions'}.{place}.{inner(rest)}"


def inner(rest: str) -> str:
    """The name within a residual block; names within attentions are the same on both sides."""
    stem, _, kind = rest.rpartition(".")
    return f"{RESNET[stem]}.{kind}" if stem in RESNET else rest
