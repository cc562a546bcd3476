"""Networks of T2I-Adapters, their modules named as in their files. Know no pictures and no strengths.

T2I-Adapter: Mou et al. 2023 (arXiv:2302.08453): the full one of SD1.x, the light one, and the one of SDXL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

MIDDLE = None
"""The place of a feature that is added behind the UNet's middle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How an adapter fits its UNet, which has two residual blocks per level."""

    side: int  # pixels of the blocks that become channels
    halving: tuple[int, ...]  # levels that halve the picture first
    places: tuple[int | None, ...]  # the input block that each level's feature is added behind


SD1_PLACEMENT = Placement(side=8, halving=(1, 2, 3), places=(2, 5, 8, 11))
SDXL_PLACEMENT = Placement(side=16, halving=(2,), places=(3, 5, 8, MIDDLE))


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterShape:
    """Sizes of an adapter."""

    channels: int  # of its input, after blocks of pixels became channels
    widths: tuple[int, ...]
    layers: int  # residual blocks per level
    kernel: int = 1  # side of the second convolutions
    shortened: tuple[bool, ...] = ()  # whether each block has a convolution in front
    skips: tuple[bool, ...] = ()  # whether each block has one on its skip connection
    placement: Placement = SD1_PLACEMENT


class AdapterBlock(nn.Module):
    """Two convolutions around a ReLU, beside a skip connection."""

    def __init__(self, into: int, out: int, kernel: int, *, down: bool, fitted: bool, skip: bool) -> None:
        super().__init__()
        self.down = down
        self.in_conv = nn.Conv2d(into, out, kernel, padding=kernel // 2) if fitted else None
        self.block1 = nn.Conv2d(out, out, 3, padding=1)
        self.block2 = nn.Conv2d(out, out, kernel, padding=kernel // 2)
        self.skep = nn.Conv2d(out if fitted else into, out, kernel, padding=kernel // 2) if skip else None

    def forward(self, x: Tensor) -> Tensor:
        """x [B, into, H, W] to [B, out, H, W], or half as large."""
        if self.down:
            x = halved(x)
        if self.in_conv is not None:
            x = self.in_conv(x)
        hidden: Tensor = self.block2(functional.relu(self.block1(x)))
        return hidden + (x if self.skep is None else self.skep(x))


class LightBlock(nn.Module):
    """Residual blocks of a quarter of the width, between two convolutions of single pixels."""

    def __init__(self, into: int, out: int, layers: int, *, down: bool) -> None:
        super().__init__()
        self.down, narrow = down, out // 4
        self.in_conv = nn.Conv2d(into, narrow, 1)
        plain = {"down": False, "fitted": False, "skip": False}
        self.body = nn.Sequential(*(AdapterBlock(narrow, narrow, 3, **plain) for _ in range(layers)))
        self.out_conv = nn.Conv2d(narrow, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, into, H, W] to [B, out, H, W], or half as large."""
        out: Tensor = self.out_conv(self.body(self.in_conv(halved(x) if self.down else x)))
        return out


class T2IAdapter(nn.Module):
    """A picture to one feature map per level of a UNet."""

    def __init__(self, shape: AdapterShape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, hint: Tensor) -> list[Tensor]:
        """One feature map per level, the largest first, of a picture [B, C, H, W] of whole blocks."""
        raise TypeError(f"a {type(self).__name__} has to say what it makes of a picture")


class FullAdapter(T2IAdapter):
    """The adapter of SD1.x and, halving only once, of SDXL."""

    def __init__(self, shape: AdapterShape) -> None:
        super().__init__(shape)
        self.conv_in = nn.Conv2d(shape.channels, shape.widths[0], 3, padding=1)
        blocks, width = [], shape.widths[0]
        for place, (shortened, skip) in enumerate(zip(shape.shortened, shape.skips, strict=True)):
            level, turn = divmod(place, shape.layers)
            down = turn == 0 and level in shape.placement.halving
            out = shape.widths[level]
            blocks.append(AdapterBlock(width, out, shape.kernel, down=down, fitted=shortened, skip=skip))
            width = out
        self.body = nn.ModuleList(blocks)

    def forward(self, hint: Tensor) -> list[Tensor]:
        """One feature map per level, the largest first, of a picture [B, C, H, W] of whole blocks."""
        x: Tensor = self.conv_in(functional.pixel_unshuffle(hint, self.shape.placement.side))
        return passed(x, self.body)[self.shape.layers - 1 :: self.shape.layers]


class LightAdapter(T2IAdapter):
    """The adapter of SD1.x that is narrow within."""

    def __init__(self, shape: AdapterShape) -> None:
        super().__init__(shape)
        sides = zip((shape.channels, *shape.widths), shape.widths, strict=False)
        halving = shape.placement.halving
        self.body = nn.ModuleList(
            LightBlock(into, out, shape.layers, down=level in halving) for level, (into, out) in enumerate(sides)
        )

    def forward(self, hint: Tensor) -> list[Tensor]:
        """One feature map per level, the largest first, of a picture [B, C, H, W] of whole blocks."""
        return passed(functional.pixel_unshuffle(hint, self.shape.placement.side), self.body)


def passed(x: Tensor, blocks: nn.ModuleList) -> list[Tensor]:
    """What comes out of each block."""
    found = []
    for block in blocks:
        x = block(x)
        found.append(x)
    return found


def halved(x: Tensor) -> Tensor:
    """x [B, C, H, W] at half its sides, rounded up."""
    return functional.avg_pool2d(x, 2, ceil_mode=True)


def spread(features: Sequence[Tensor], placement: Placement) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """What is added behind each input block, the first block's last, and behind the middle."""
    by_place = dict(zip(placement.places, features, strict=False))
    last = max(place for place in by_place if place is not None)
    behind = [by_place.get(place) for place in range(last, -1, -1)]
    return behind, [by_place[MIDDLE]] if MIDDLE in by_place else []


def grey(picture: Tensor) -> Tensor:
    """The mean of a picture's colours [B, 1, H, W]."""
    return torch.mean(picture, dim=1, keepdim=True)
