"""Layers of Wan's video autoencoders (Wan team 2025, arXiv:2503.20314), named as in their files.

Every layer looks at a frame and at those before it. A video may come in stretches: what a convolution needs of the
frames before stands in a `Past`. Know no order of layers.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

Past: TypeAlias = dict[nn.Module, Tensor]
"""The last frames that each convolution was given, [B, C, K - 1, H, W]; empty before a video's first stretch."""


def causal(conv: nn.Conv3d, x: Tensor, past: Past) -> Tensor:
    """A convolution of frames [B, C, F, H, W] that looks back only; before the first frame there are zeros."""
    back = conv.kernel_size[0] - 1
    if not back:
        return conv(x)  # type: ignore[no-any-return]
    before = past.get(conv)
    before = x.new_zeros(*x.shape[:2], back, *x.shape[3:]) if before is None else before
    x = torch.cat([before, x], dim=2)
    past[conv] = x[:, :, -back:].clone()  # a copy: a part would keep the whole alive
    return conv(x)  # type: ignore[no-any-return]


class RMSNorm(nn.Module):
    """The channels of each cell at root mean square 1, then scaled."""

    def __init__(self, width: int, dims: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width, *(1,) * dims))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, ...] to the same shape."""
        unit = functional.normalize(x.float(), dim=1).to(x) * x.shape[1] ** 0.5
        scaled: Tensor = unit * self.gamma.to(x)
        return scaled


def conv3d(into: int, out: int, kernel: int = 3) -> nn.Conv3d:
    """A convolution for `causal`."""
    return nn.Conv3d(into, out, kernel, padding=(0, kernel // 2, kernel // 2))


class ResidualBlock(nn.Module):
    """Two convolutions of frames beside what goes past them."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        first = RMSNorm(into), nn.SiLU(), conv3d(into, out)
        self.residual = nn.Sequential(*first, RMSNorm(out), nn.SiLU(), nn.Identity(), conv3d(out, out))
        self.shortcut = nn.Identity() if into == out else conv3d(into, out, 1)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """x [B, into, F, H, W] to [B, out, F, H, W]."""
        hidden = x
        for layer in self.residual:
            hidden = causal(layer, hidden, past) if isinstance(layer, nn.Conv3d) else layer(hidden)
        return hidden + self.shortcut(x)  # type: ignore[no-any-return]


class AttentionBlock(nn.Module):
    """Attention among the cells of each frame, beside what goes past it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width, dims=2)
        self.to_qkv, self.proj = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """x [B, C, F, H, W] to the same shape."""
        frames = x.transpose(1, 2).flatten(0, 1)
        rows = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2)[:, None]
        mixed = functional.scaled_dot_product_attention(*(part.contiguous() for part in rows.chunk(3, dim=-1)))
        cells = self.proj(mixed[:, 0].transpose(1, 2).reshape(frames.shape))
        return x + cells.reshape(len(x), -1, *cells.shape[1:]).transpose(1, 2)  # type: ignore[no-any-return]


def by_frame(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Layers of pictures, over the frames of x [B, C, F, H, W]."""
    frames = layers(x.transpose(1, 2).flatten(0, 1))
    return frames.reshape(len(x), -1, *frames.shape[1:]).transpose(1, 2)  # type: ignore[no-any-return]


class Downsample(nn.Module):
    """Half as wide and high, and where it is `temporal` one frame of two; the first frame stays alone."""

    def __init__(self, width: int, *, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(width, width, 3, stride=2))
        self.time_conv = nn.Conv3d(width, width, (3, 1, 1), stride=(2, 1, 1)) if temporal else None

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """x [B, C, F, H, W] to [B, C, F or F / 2, H / 2, W / 2]; a video's first stretch is one frame."""
        x = by_frame(self.resample, x)
        if self.time_conv is None:
            return x
        before, past[self.time_conv] = past.get(self.time_conv), x[:, :, -1:].clone()
        return x if before is None else self.time_conv(torch.cat([before, x], dim=2))


class Doubled(nn.Module):
    """Each cell four times, as its nearest ones; computed in a type that every device knows it for."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] to [B, C, 2 H, 2 W]."""
        return functional.interpolate(x.float(), scale_factor=2.0, mode="nearest-exact").to(x)


class Upsample(nn.Module):
    """Twice as wide and high, and where it is `temporal` two frames of each; the first frame stays alone."""

    def __init__(self, width: int, out: int, *, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(Doubled(), nn.Conv2d(width, out, 3, padding=1))
        self.time_conv = nn.Conv3d(width, 2 * width, (3, 1, 1)) if temporal else None

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """x [B, C, F, H, W] to [B, out, F or 2 F, 2 H, 2 W]; a video's first stretch is one frame."""
        if self.time_conv is not None:
            if self.time_conv in past:
                pairs = causal(self.time_conv, x, past).reshape(len(x), 2, *x.shape[1:])
                x = pairs.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)
            else:  # what follows does not see the first frame here
                past[self.time_conv] = x.new_zeros(*x.shape[:2], 2, *x.shape[3:])
        return by_frame(self.resample, x)


class DownBlock(nn.Module):
    """Layers of one size and what makes it smaller, beside means of cells and frames that go past them (Wan 2.2)."""

    def __init__(self, layers: list[nn.Module], into: int, out: int, factors: tuple[int, int]) -> None:
        """`factors`: frames and cells each way that become one."""
        super().__init__()
        self.downsamples = nn.Sequential(*layers)
        self.into, self.out, self.factors = into, out, factors

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """x [B, into, F, H, W] to [B, out, F / frames, H / cells, W / cells]."""
        hidden = x
        for layer in self.downsamples:
            hidden = layer(hidden, past)
        return hidden + self.means(x)

    def means(self, x: Tensor) -> Tensor:
        """Cells and frames that become one as channels, and the means of as many of these as there are too many."""
        frames, cells = self.factors
        x = functional.pad(x, (0, 0, 0, 0, -x.shape[2] % frames, 0))
        x = x.reshape(*x.shape[:2], -1, frames, x.shape[3] // cells, cells, x.shape[4] // cells, cells)
        channels = x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)  # [B, C * factors, F, H, W]
        return channels.reshape(len(x), self.out, -1, *channels.shape[2:]).mean(dim=2)


class UpBlock(nn.Module):
    """Layers of one size and what makes it larger, beside channels that become cells and frames (Wan 2.2)."""

    def __init__(self, layers: list[nn.Module], into: int, out: int, factors: tuple[int, int]) -> None:
        """`factors`: frames and cells each way that one becomes; (1, 1): nothing goes past."""
        super().__init__()
        self.upsamples = nn.Sequential(*layers)
        self.into, self.out, self.factors = into, out, factors

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """x [B, into, F, H, W] to [B, out, F * frames, H * cells, W * cells]; the first frame becomes one."""
        is_first = self not in past
        past[self] = x.new_ones(1)  # there was a stretch
        hidden = x
        for layer in self.upsamples:
            hidden = layer(hidden, past)
        return hidden if self.factors == (1, 1) else hidden + self.repeats(x, is_first=is_first)

    def repeats(self, x: Tensor, *, is_first: bool) -> Tensor:
        """Each channel as often as it takes, as cells and frames."""
        frames, cells = self.factors
        x = x.repeat_interleave(self.out * frames * cells * cells // self.into, dim=1)
        x = x.reshape(len(x), self.out, frames, cells, cells, *x.shape[2:])
        x = x.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5).flatten(2, 3)
        return x[:, :, frames - 1 :] if is_first else x
