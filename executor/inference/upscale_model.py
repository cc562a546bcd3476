"""Networks that enlarge pictures: the ESRGAN family, its modules named as Real-ESRGAN's files name them. Know no files.

ESRGAN: Wang et al. 2018 (arXiv:1809.00219, section 3.1). Real-ESRGAN: Wang et al. 2021 (arXiv:2107.10833), with the
pixel-unshuffle in front of its smaller factors (section 3.3) and the compact network of its later releases.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2  # of every leaky ReLU
RESIDUAL_SCALE = 0.2  # the paper's beta
DENSE_LAYERS = 5
RGB = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseShape:
    """Sizes of an RRDBNet."""

    width: int
    growth: int  # channels that each layer of a dense block adds
    blocks: int
    doublings: int  # how often the sides are doubled at the end
    fold: int = 1  # pixels per side that become channels in front

    @property
    def scale(self) -> int:
        """How much longer the sides become; 0 where they would become shorter."""
        return int(2**self.doublings // self.fold)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactShape:
    """Sizes of an SRVGGNetCompact."""

    width: int
    layers: int  # convolutions between the first and the last
    scale: int


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees all features before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for place in range(DENSE_LAYERS):
            out = width if place == DENSE_LAYERS - 1 else growth
            setattr(self, f"conv{place + 1}", nn.Conv2d(width + place * growth, out, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] plus its scaled change."""
        seen, change = x, x
        for place in range(DENSE_LAYERS):
            change = getattr(self, f"conv{place + 1}")(seen)
            if place < DENSE_LAYERS - 1:
                seen = torch.cat([seen, functional.leaky_relu(change, SLOPE)], dim=1)
        return x + RESIDUAL_SCALE * change


class ResidualDenseBlocks(nn.Module):
    """Three dense blocks within one more residual: the paper's RRDB."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(width, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] plus its scaled change."""
        change: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return x + RESIDUAL_SCALE * change


class RRDBNet(nn.Module):
    """Pictures [B, 3, H, W] to pictures `shape.scale` times as large."""

    def __init__(self, shape: DenseShape) -> None:
        super().__init__()
        self.shape, width = shape, shape.width
        self.conv_first = nn.Conv2d(RGB * shape.fold**2, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualDenseBlocks(width, shape.growth) for _ in range(shape.blocks)))
        self.conv_body = nn.Conv2d(width, width, 3, padding=1)
        self.conv_up = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(shape.doublings))
        self.conv_hr = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, RGB, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """The larger pictures; sides that do not fold evenly are continued by their mirror image and cut again."""
        height, width = (side * self.shape.scale for side in x.shape[-2:])
        if self.shape.fold > 1:
            x = functional.pixel_unshuffle(continued(x, self.shape.fold), self.shape.fold)
        features: Tensor = self.conv_first(x)
        features = features + self.conv_body(self.body(features))
        for conv in self.conv_up:
            larger = functional.interpolate(features, scale_factor=2, mode="nearest")
            features = functional.leaky_relu(conv(larger), SLOPE)
        whole: Tensor = self.conv_last(functional.leaky_relu(self.conv_hr(features), SLOPE))
        return whole[..., :height, :width]


class ChannelSlope(nn.PReLU):
    """A leaky ReLU whose slope each channel has learned, in the type of its input."""

    def forward(self, input: Tensor) -> Tensor:
        """x [B, C, H, W] to the same shape."""
        return functional.prelu(input, self.weight.to(input))


class CompactNet(nn.Module):
    """A row of convolutions whose channels become pixels, added to the picture itself, enlarged."""

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        self.shape, width = shape, shape.width
        layers: list[nn.Module] = [nn.Conv2d(RGB, width, 3, padding=1), ChannelSlope(width)]
        for _ in range(shape.layers):
            layers += [nn.Conv2d(width, width, 3, padding=1), ChannelSlope(width)]
        layers.append(nn.Conv2d(width, RGB * shape.scale**2, 3, padding=1))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] to pictures `shape.scale` times as large."""
        details = functional.pixel_shuffle(self.body(x), self.shape.scale)
        larger: Tensor = details + functional.interpolate(x, scale_factor=self.shape.scale, mode="nearest")
        return larger


def continued(x: Tensor, multiple: int) -> Tensor:
    """x [B, C, H, W] with its lower and right edges continued until both sides are multiples."""
    below, beside = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    if not below and not beside:
        return x
    mirrored = min(x.shape[-2:]) > max(below, beside)
    return functional.pad(x, (0, beside, 0, below), mode="reflect" if mirrored else "replicate")
