"""The SD1.5 denoising UNet with its original key names, at any width."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention


@dataclass(frozen=True)
class UNetSize:
    """Widths per level, which levels attend, attention heads and the context's width."""

    widths: tuple[int, ...] = (48, 96)
    attends: tuple[bool, ...] = (True, True)
    heads: int = 8
    context: int = 32


def norm(width: int, eps: float = 1e-5) -> nn.GroupNorm:
    """Group norm of gcd(32, width) groups."""
    return nn.GroupNorm(math.gcd(32, width), width, eps=eps)


class ResBlock(nn.Module):
    """Two convolutions with the time embedding added between them."""

    def __init__(self, width: int, out: int, embedding: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(norm(width), nn.SiLU(), nn.Conv2d(width, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, out))
        self.out_layers = nn.Sequential(norm(out), nn.SiLU(), nn.Identity(), nn.Conv2d(out, out, 3, padding=1))
        self.skip_connection = nn.Identity() if width == out else nn.Conv2d(width, out, 1)
        nn.init.zeros_(self.out_layers[3].weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.in_layers(x) + self.emb_layers(embedding)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(hidden)


class Attention(nn.Module):
    """Multi-head attention over tokens (B, N, C), to themselves or to a context."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Identity())

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        return self.to_out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class GEGLU(nn.Module):
    """A linear layer gated by another's GELU."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, out * 2)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * gelu(gate)


class FeedForward(nn.Module):
    """GEGLU of four times the width and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(width, width * 4), nn.Identity(), nn.Linear(width * 4, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    """Self attention, attention to the text, feed-forward."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1 = Attention(width, width, heads)
        self.ff = FeedForward(width)
        self.attn2 = Attention(width, context, heads)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        inner = self.norm1(x)
        x = x + self.attn1(inner, inner)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """One transformer block over the picture's cells."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.norm = norm(width, 1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, context, heads)])
        self.proj_out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        tokens = self.transformer_blocks[0](tokens, context)
        return x + self.proj_out(tokens.transpose(1, 2).unflatten(2, x.shape[2:]))


class Downsample(nn.Module):
    """Halves height and width by a strided convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Doubles height and width, then convolves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(interpolate(x, scale_factor=2.0, mode="nearest"))


def run(block: nn.ModuleList, x: Tensor, embedding: Tensor, context: Tensor) -> Tensor:
    """Passes x through one block's layers, each with what it takes."""
    for layer in block:
        if isinstance(layer, ResBlock):
            x = layer(x, embedding)
        elif isinstance(layer, SpatialTransformer):
            x = layer(x, context)
        else:
            x = layer(x)
    return x


class UNet(nn.Module):
    """Predicts the noise in latents (B, 4, H, W) at timesteps (B,) under contexts (B, N, C)."""

    def __init__(self, size: UNetSize) -> None:
        super().__init__()
        widths, first = size.widths, size.widths[0]
        self.first, wide = first, first * 4

        def stage(source: int, out: int, attend: bool) -> list[nn.Module]:
            extra = [SpatialTransformer(out, size.context, size.heads)] if attend else []
            return [ResBlock(source, out, wide), *extra]

        self.time_embed = nn.Sequential(nn.Linear(first, wide), nn.SiLU(), nn.Linear(wide, wide))
        inputs, skips, width = [nn.ModuleList([nn.Conv2d(4, first, 3, padding=1)])], [first], first
        for level, out in enumerate(widths):
            inputs.append(nn.ModuleList(stage(width, out, size.attends[level])))
            skips.append(width := out)
            if level < len(widths) - 1:
                inputs.append(nn.ModuleList([Downsample(width)]))
                skips.append(width)
        self.input_blocks = nn.ModuleList(inputs)
        middle = SpatialTransformer(width, size.context, size.heads)
        self.middle_block = nn.ModuleList([ResBlock(width, width, wide), middle, ResBlock(width, width, wide)])
        outputs = []
        for level in reversed(range(len(widths))):
            for turn in range(2):
                block = stage(width + skips.pop(), widths[level], size.attends[level])
                width = widths[level]
                outputs.append(nn.ModuleList([*block, Upsample(width)] if level and turn else block))
        self.output_blocks = nn.ModuleList(outputs)
        self.out = nn.Sequential(norm(first), nn.SiLU(), nn.Conv2d(first, 4, 3, padding=1))
        nn.init.zeros_(self.out[2].weight)

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        embedding = self.time_embed(timestep_embedding(timestep, self.first))
        skips = []
        for block in self.input_blocks:
            x = run(block, x, embedding, context) if len(skips) else block[0](x)
            skips.append(x)
        x = run(self.middle_block, x, embedding, context)
        for block in self.output_blocks:
            x = run(block, torch.cat([x, skips.pop()], 1), embedding, context)
        return self.out(x)


def timestep_embedding(timestep: Tensor, width: int) -> Tensor:
    """Cosines, then sines, (B, width), of timesteps (B,)."""
    half = width // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half, device=timestep.device) / half)
    angles = timestep[:, None].float() * rates
    return torch.cat([angles.cos(), angles.sin()], 1)
