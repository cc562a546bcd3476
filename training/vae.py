"""The SD1.5 autoencoder with its original key names, at any width."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention, silu

from training.unet import norm

WIDTHS = (12, 20, 40, 48)
EPS = 1e-6


class ResBlock(nn.Module):
    """Two normed convolutions beside a shortcut."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(width, EPS), nn.Conv2d(width, out, 3, padding=1)
        self.norm2, self.conv2 = norm(out, EPS), nn.Conv2d(out, out, 3, padding=1)
        if width != out:
            self.nin_shortcut = nn.Conv2d(width, out, 1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv2(silu(self.norm2(self.conv1(silu(self.norm1(x))))))
        return hidden + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttentionBlock(nn.Module):
    """One head of attention over all cells, by 1 x 1 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width, EPS)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))
        nn.init.zeros_(self.proj_out.weight)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm(x)
        q, k, v = (layer(inner).flatten(2).transpose(1, 2)[:, None] for layer in (self.q, self.k, self.v))
        found = scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.proj_out(found)


class Middle(nn.Module):
    """Residual block, attention, residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = ResBlock(width, width), AttentionBlock(width), ResBlock(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Sampler(nn.Module):
    """Halves (stride 2, padded right and below) or doubles height and width."""

    def __init__(self, width: int, doubles: bool) -> None:
        super().__init__()
        self.doubles = doubles
        self.conv = nn.Conv2d(width, width, 3, stride=1 if doubles else 2, padding=1 if doubles else 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(interpolate(x, scale_factor=2.0, mode="nearest") if self.doubles else pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """One resolution's residual blocks and the way to the next."""

    def __init__(self, width: int, out: int, blocks: int, down: bool = False, up: bool = False) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResBlock(width if turn == 0 else out, out) for turn in range(blocks))
        if down:
            self.downsample = Sampler(out, doubles=False)
        if up:
            self.upsample = Sampler(out, doubles=True)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        for name in ("downsample", "upsample"):
            x = getattr(self, name)(x) if hasattr(self, name) else x
        return x


class Encoder(nn.Module):
    """Moments (B, 8, H / 8, W / 8), before quant_conv, of pictures (B, 3, H, W)."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        last = len(widths) - 1
        steps = enumerate(pairwise((widths[0], *widths)))
        self.down = nn.ModuleList(Level(width, out, 1, down=level < last) for level, (width, out) in steps)
        self.mid = Middle(widths[-1])
        self.norm_out, self.conv_out = norm(widths[-1], EPS), nn.Conv2d(widths[-1], 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Pictures (B, 3, 8 H, 8 W) of latents (B, 4, H, W), after post_quant_conv."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        levels = []
        for level, out in enumerate(widths):
            source = widths[min(level + 1, len(widths) - 1)]
            levels.append(Level(source, out, 2, up=level > 0))
        self.up = nn.ModuleList(levels)
        self.norm_out, self.conv_out = norm(widths[0], EPS), nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(silu(self.norm_out(x)))


class VAE(nn.Module):
    """Encoder and decoder; here latents have unit variance, the file's scale is folded in at export."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(widths), Decoder(widths)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(8, 8, 1), nn.Conv2d(4, 4, 1)
        with torch.no_grad():
            self.post_quant_conv.weight.copy_(torch.eye(4)[:, :, None, None])
            self.quant_conv.weight.copy_(torch.eye(8)[:, :, None, None])
            for layer in (self.quant_conv, self.post_quant_conv):
                layer.bias.zero_()

    def encode(self, pictures: Tensor) -> Tensor:
        """Mean and log variance (B, 8, H / 8, W / 8)."""
        return self.quant_conv(self.encoder(pictures))

    def decode(self, latent: Tensor) -> Tensor:
        """Pictures, about -1..1."""
        return self.decoder(self.post_quant_conv(latent))
