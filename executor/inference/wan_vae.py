"""Wan's video autoencoders (Wan team 2025, arXiv:2503.20314), of any width and depth, named as in their files.

One latent frame stands for the first picture, each further one for four. Knows tensors in -1..1 and no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from executor.inference.interruption import stop_if_asked
from executor.inference.wan_vae_layers import (
    AttentionBlock,
    DownBlock,
    Downsample,
    Past,
    ResidualBlock,
    RMSNorm,
    UpBlock,
    Upsample,
    causal,
    conv3d,
)

COLOURS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """A residual layer, or one that changes the size."""

    into: int
    out: int
    resizes: bool = False
    temporal: bool = False  # whether it changes the number of frames too


Level = tuple[LayerShape, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WanVaeShape:
    """Sizes of an autoencoder; levels as they follow each other in each half."""

    latent_channels: int
    encoder: tuple[Level, ...]
    decoder: tuple[Level, ...]
    patch: int = 1  # pixels each way that are channels of one cell before the first layer
    grouped: bool = False  # whether layers of one size are a block with a way past them (Wan 2.2)

    @property
    def downscale(self) -> int:
        """Pixels per latent cell, each way."""
        return int(self.patch * 2 ** sum(layer.resizes for level in self.encoder for layer in level))

    @property
    def frames(self) -> int:
        """Pictures per latent frame, but for the first."""
        return int(2 ** sum(layer.temporal for level in self.encoder for layer in level))

    @property
    def encoder_widths(self) -> tuple[int, ...]:
        """Channels of its first layers' maps."""
        return tuple(level[0].out for level in self.encoder)

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Channels of its last layers' maps first."""
        return tuple(level[-1].out for level in reversed(self.decoder))


class Coder(nn.Module):
    """One half: a convolution, levels, a middle and a head, in the order that the half has them."""

    def __init__(self, into: int, first: int, middle: int, last: int, out: int) -> None:
        super().__init__()
        self.conv1 = conv3d(into, first)
        self.middle = nn.Sequential(
            ResidualBlock(middle, middle), AttentionBlock(middle), ResidualBlock(middle, middle)
        )
        self.head = nn.Sequential(RMSNorm(last), nn.SiLU(), conv3d(last, out))

    def through(self, x: Tensor, layers: Sequence[nn.Module], past: Past) -> Tensor:
        """x [B, C, F, H, W] after the first convolution, layers and the head."""
        x = causal(self.conv1, x, past)
        for layer in layers:
            stop_if_asked()
            x = layer(x, past)
        norm, activation, conv = self.head
        return causal(cast(nn.Conv3d, conv), activation(norm(x)), past)


class Encoder(Coder):
    """Pictures to the mean and spread of latents."""

    def __init__(self, shape: WanVaeShape) -> None:
        first, last = shape.encoder[0][0].into, shape.encoder[-1][-1].out
        levels = [down_level(level, grouped=shape.grouped) for level in shape.encoder]
        super().__init__(COLOURS * shape.patch**2, first, last, last, 2 * shape.latent_channels)
        self.downsamples = nn.Sequential(*(layer for level in levels for layer in level))

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """x [B, C, F, H, W] to [B, 2 C, f, h, w]."""
        return self.through(x, [*self.downsamples, *self.middle], past)


class Decoder(Coder):
    """Latents to pictures."""

    def __init__(self, shape: WanVaeShape) -> None:
        first, last = shape.decoder[0][0].into, shape.decoder[-1][-1].out
        levels = [up_level(level, grouped=shape.grouped) for level in shape.decoder]
        super().__init__(shape.latent_channels, first, first, last, COLOURS * shape.patch**2)
        self.upsamples = nn.Sequential(*(layer for level in levels for layer in level))

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """x [B, C, f, h, w] to [B, C, F, H, W]."""
        return self.through(x, [*self.middle, *self.upsamples], past)


def down_level(level: Level, *, grouped: bool) -> list[nn.Module]:
    """The encoder's layers of one size and what makes it smaller."""
    layers: list[nn.Module] = [
        Downsample(each.into, temporal=each.temporal) if each.resizes else ResidualBlock(each.into, each.out)
        for each in level
    ]
    return [DownBlock(layers, level[0].into, level[-1].out, factors(level))] if grouped else layers


def up_level(level: Level, *, grouped: bool) -> list[nn.Module]:
    """The decoder's layers of one size and what makes it larger."""
    layers: list[nn.Module] = [
        Upsample(each.into, each.out, temporal=each.temporal) if each.resizes else ResidualBlock(each.into, each.out)
        for each in level
    ]
    return [UpBlock(layers, level[0].into, level[-1].out, factors(level))] if grouped else layers


def factors(level: Level) -> tuple[int, int]:
    """How many frames and cells each way become one, or one becomes."""
    return 2 if level[-1].temporal else 1, 2 if level[-1].resizes else 1


class WanVae(nn.Module):
    """Videos [B, 3, 4 f + 1, H, W] in -1..1 to latents [B, C, f + 1, h, w] and back, stretch by stretch."""

    def __init__(self, shape: WanVaeShape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder, self.decoder = Encoder(shape), Decoder(shape)
        channels = shape.latent_channels
        self.conv1, self.conv2 = conv3d(2 * channels, 2 * channels, 1), conv3d(channels, channels, 1)

    def encode(self, pixels: Tensor) -> Tensor:
        """The posterior's mean of a whole video."""
        past: Past = {}
        parts = (self.encode_part(part, past) for part in stretches(pixels, self.shape.frames))
        return torch.cat(list(parts), dim=2)

    def decode(self, latent: Tensor) -> Tensor:
        """The pictures of a whole video."""
        past: Past = {}
        return torch.cat([self.decode_part(part, past) for part in torch.split(latent, 1, dim=2)], dim=2)

    def encode_part(self, pixels: Tensor, past: Past) -> Tensor:
        """The latents of a video's next pictures: the first one, later as many as are for one latent frame."""
        mean: Tensor = self.conv1(self.encoder(squares(pixels, self.shape.patch), past)).chunk(2, dim=1)[0]
        return mean

    def decode_part(self, latent: Tensor, past: Past) -> Tensor:
        """The pictures of a video's next latent frame."""
        return pixels_of(self.decoder(self.conv2(latent), past), self.shape.patch)


def stretches(pixels: Tensor, frames: int) -> Iterator[Tensor]:
    """The first picture of [B, C, F, H, W], then so many at once; those at the end that are too few are left out."""
    yield pixels[:, :, :1]
    for start in range(1, pixels.shape[2] - frames + 1, frames):
        yield pixels[:, :, start : start + frames]


def squares(pixels: Tensor, side: int) -> Tensor:
    """Pixels of squares as channels: columns before rows."""
    if side == 1:
        return pixels
    batch, channels, frames, height, width = pixels.shape
    cells = pixels.reshape(batch, channels, frames, height // side, side, width // side, side)
    return cells.permute(0, 1, 6, 4, 2, 3, 5).flatten(1, 3)


def pixels_of(cells: Tensor, side: int) -> Tensor:
    """Squares of pixels of channels: columns before rows."""
    if side == 1:
        return cells
    batch, _, frames, height, width = cells.shape
    parts = cells.reshape(batch, -1, side, side, frames, height, width)
    return parts.permute(0, 1, 4, 5, 3, 6, 2).reshape(batch, -1, frames, height * side, width * side)
