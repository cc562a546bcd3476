"""The original names of a UNet's tensors that diffusers names. Knows no sizes beyond how many layers there are."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from executor.inference.families.ldm_unet import count_under
from executor.inference.unet_names import MIDDLE, RESIDUAL, TOP

BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")


def original_unet_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The names of a UNet in diffusers' form → the original ones; names without one are left out."""
    firsts = {"down": first_blocks(tensors, "down", 1), "up": first_blocks(tensors, "up", 0)}
    top = {theirs: ours for ours, theirs in TOP.items()}
    names: dict[str, str] = {}
    for name in tensors:
        stem, _, kind = name.rpartition(".")
        if stem in top:
            names[name] = f"{top[stem]}.{kind}"
        elif found := BLOCK.fullmatch(name):
            names[name] = block_name(found, firsts[found[1]], tensors)
        else:
            for ours, theirs in MIDDLE.items():
                if name.startswith(f"{theirs}."):
                    names[name] = f"middle_block.{ours}.{inside(name.removeprefix(f'{theirs}.'))}"
    return names


def first_blocks(tensors: Mapping[str, Tensor], way: str, number: int) -> list[tuple[int, int]]:
    """(number of the first block, residual blocks) of every level on the way down or up."""
    found = []
    for level in range(count_under(tensors, f"{way}_blocks.")):
        layers = count_under(tensors, f"{way}_blocks.{level}.resnets.")
        found.append((number, layers))
        number += layers + (f"down_blocks.{level}.downsamplers.0.conv.weight" in tensors and way == "down")
    return found


def block_name(found: re.Match[str], firsts: list[tuple[int, int]], tensors: Mapping[str, Tensor]) -> str:
    """The original name of a tensor within a level."""
    way, level, kind, place, rest = found.groups()
    first, layers = firsts[int(level)]
    side = "input_blocks" if way == "down" else "output_blocks"
    if kind == "downsamplers":
        return f"{side}.{first + layers}.0.op.{rest.rpartition('.')[2]}"
    if kind == "upsamplers":
        attends = any(name.startswith(f"up_blocks.{level}.attentions.") for name in tensors)
        return f"{side}.{first + layers - 1}.{2 if attends else 1}.conv.{rest.rpartition('.')[2]}"
    return f"{side}.{first + int(place)}.{0 if kind == 'resnets' else 1}.{inside(rest)}"


def inside(rest: str) -> str:
    """The original name within a residual block; names within attentions are the same."""
    stem, _, kind = rest.rpartition(".")
    return next((f"{ours}.{kind}" for ours, theirs in RESIDUAL.items() if theirs == stem), rest)
