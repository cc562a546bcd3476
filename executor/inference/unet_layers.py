"""Layers of the latent diffusion UNet (Rombach et al. 2022, arXiv:2112.10752), named as in its files.

Attention layers carry the patch points of transformer_options, which is why they are ours. Know no block order.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.inference import attention
from executor.inference.hooks import Options, TriplePatch, patched, patches, replacement, through
from executor.inference.text_products import PRODUCTS, TextProducts

LONGEST_PERIOD = 10000.0


def groups(width: int, eps: float = 1e-5) -> nn.GroupNorm:
    """A group norm of 32 groups; of fewer in narrow models."""
    return nn.GroupNorm(math.gcd(32, width), width, eps=eps)


def timestep_embedding(timesteps: Tensor, width: int) -> Tensor:
    """Cosines and sines [B, width] of timesteps [B], float32."""
    half = width // 2
    places = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    frequencies = torch.exp(-math.log(LONGEST_PERIOD) / half * places)
    angles = timesteps[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class ResBlock(nn.Module):
    """Two convolutions with the time embedding added between them."""

    def __init__(self, into: int, out: int, embedding: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(groups(into), nn.SiLU(), nn.Conv2d(into, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, out))
        self.out_layers = nn.Sequential(groups(out), nn.SiLU(), nn.Identity(), nn.Conv2d(out, out, 3, padding=1))
        self.skip_connection = nn.Identity() if into == out else nn.Conv2d(into, out, 1)

    def forward(self, x: Tensor, embedding: Tensor, options: Options | None = None) -> Tensor:
        """x [B, into, H, W] and the time embedding [B, E] to [B, out, H, W]; `options` are for its video form."""
        hidden = self.in_layers(x) + self.emb_layers(embedding)[:, :, None, None]
        mixed: Tensor = self.skip_connection(x) + self.out_layers(hidden)
        return mixed


class Joined(NamedTuple):
    """The weights of three projections as one, and the parameters that are its parts."""

    whole: Tensor  # [3 * out, in]
    parts: tuple[nn.Parameter, nn.Parameter, nn.Parameter]


class CrossAttention(nn.Module):
    """Multi-head attention of tokens to a context."""

    joined: Joined | None = None  # where one product makes all three of tokens that attend to each other

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads, self.dim_head = heads, width // heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Identity())

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        value: Tensor | None = None,
        mask: Tensor | None = None,
        transformer_options: Options | None = None,
    ) -> Tensor:
        """Tokens x [B, N, C] mixed with a context [B, M, D]; without one, with each other."""
        context = x if context is None else context
        options = transformer_options or {}
        own, products = options.get("optimized_attention_override"), cast("TextProducts | None", options.get(PRODUCTS))
        as_usual = not callable(own) and not attention.attend.is_replaced  # others may count on rows that lie dense
        value = context if value is None else value
        if products is not None and context is value and context is not x:
            query, (key, values) = self.to_q(x), products.of(self, context)
        else:
            query, key, values = self.projected(x, context, value, as_one=as_usual)
        attend = attention.attend if mask is None else attention.attend_masked
        if callable(own):
            mixed = own(attend, query, key, values, self.heads, mask=mask, transformer_options=transformer_options)
        else:
            mixed = attend(query, key, values, self.heads, mask=mask)
        result: Tensor = self.to_out(mixed)
        return result

    def projected(
        self, x: Tensor, context: Tensor, value: Tensor, *, as_one: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values; by one product where that may be and can be."""
        if as_one and self.joined is not None and x is context and context is value and self.is_joined():
            query, key, values = functional.linear(x, self.joined.whole).chunk(3, dim=-1)
            return query, key, values
        return self.to_q(x), self.to_k(context), self.to_v(value)

    def is_joined(self) -> bool:
        """Whether the joined weights are those of its projections at present."""
        if self.joined is None:
            return False
        query, key, value = self.joined.parts
        return query is self.to_q.weight and key is self.to_k.weight and value is self.to_v.weight


class GEGLU(nn.Module):
    """A linear layer gated by another's GELU (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, out * 2)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., C] to [..., out]."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        gated: Tensor = value * functional.gelu(gate)
        return gated


class FeedForward(nn.Module):
    """GEGLU of a wider layer and back."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(width, inner), nn.Identity(), nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., C] to the same shape."""
        return self.net(x)  # type: ignore[no-any-return]


class BasicTransformerBlock(nn.Module):
    """Self attention, attention to the text, feed-forward; each may be patched.

    One without cells of its `own` to attend to attends to the text twice.
    """

    def __init__(self, width: int, context: int, heads: int, *, own: bool = True) -> None:
        super().__init__()
        self.own = own
        self.attn1 = CrossAttention(width, width if own else context, heads)
        self.ff = FeedForward(width, 4 * width)
        self.attn2 = CrossAttention(width, context, heads)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.n_heads, self.d_head = heads, width // heads

    def forward(self, x: Tensor, context: Tensor | None = None, transformer_options: Options | None = None) -> Tensor:
        """Tokens [B, N, C] under a context [B, M, D] to the same shape."""
        options = {**(transformer_options or {}), "n_heads": self.n_heads, "dim_head": self.d_head}
        x = x + self._attention("attn1", self.attn1, self.norm1(x), None if self.own else context, options)
        x = patched(options, "middle_patch", x)
        x = x + self._attention("attn2", self.attn2, self.norm2(x), context, options)
        return x + self.ff(self.norm3(x))  # type: ignore[no-any-return]

    def _attention(
        self, name: str, layer: CrossAttention, tokens: Tensor, context: Tensor | None, options: Options
    ) -> Tensor:
        context = tokens if context is None else context
        value = context
        for patch in patches(options, f"{name}_patch"):
            tokens, context, value = cast(TriplePatch, patch)(tokens, context, value, options)
        own = replacement(options, name)
        if own is None:
            mixed = layer(tokens, context, value, transformer_options=options)
        else:
            mixed = layer.to_out(own(layer.to_q(tokens), layer.to_k(context), layer.to_v(value), options))
        return patched(options, f"{name}_output_patch", mixed)


class SpatialTransformer(nn.Module):
    """Transformer blocks over the cells of a picture."""

    def __init__(self, width: int, context: int, heads: int, depth: int, *, linear: bool, own: bool = True) -> None:
        super().__init__()
        self.norm = groups(width, 1e-6)
        self.use_linear = linear
        self.proj_in = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)
        blocks = (BasicTransformerBlock(width, context, heads, own=own) for _ in range(depth))
        self.transformer_blocks = nn.ModuleList(blocks)
        self.proj_out = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, context: Tensor | None = None, transformer_options: Options | None = None) -> Tensor:
        """x [B, C, H, W] under a context [B, M, D] to the same shape."""
        options = {} if transformer_options is None else transformer_options
        options["activations_shape"] = list(x.shape)
        tokens = self.norm(x)
        tokens = tokens if self.use_linear else self.proj_in(tokens)
        tokens = tokens.flatten(2).transpose(1, 2)
        tokens = self.proj_in(tokens) if self.use_linear else tokens
        for number in range(len(self.transformer_blocks)):
            options["block_index"] = number
            tokens = self.run_block(number, tokens, context, options)
            options["transformer_index"] = cast(int, options.get("transformer_index", 0)) + 1
        tokens = self.proj_out(tokens) if self.use_linear else tokens
        tokens = tokens.transpose(1, 2).unflatten(2, x.shape[2:])
        mixed: Tensor = x + (tokens if self.use_linear else self.proj_out(tokens))
        return mixed

    def run_block(self, number: int, tokens: Tensor, context: Tensor | None, options: Options) -> Tensor:
        """Tokens [B, N, C] through one transformer block."""
        return through(self.transformer_blocks[number], tokens, context, options)


class Downsample(nn.Module):
    """Halves height and width by a strided convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] to [B, C, (H + 1) // 2, (W + 1) // 2]."""
        return self.op(x)  # type: ignore[no-any-return]


class Upsample(nn.Module):
    """Repeats cells to a larger size, then convolves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """x [B, C, H, W] to `size`, twice as large where none is given."""
        size = size or (x.shape[-2] * 2, x.shape[-1] * 2)
        return self.conv(functional.interpolate(x, size=size, mode="nearest"))  # type: ignore[no-any-return]
