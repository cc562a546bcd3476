"""Attention as packs call it, over torch's own kernel. Networks' blocks are not here."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from comfy.handles import Alias
from comfy.ops import manual_cast
from executor.inference import unet_layers
from executor.inference.unet_layers import BasicTransformerBlock, SpatialTransformer
from nodes.placeholders import fallback

__all__ = ["BasicTransformerBlock", "SpatialTransformer"]

__getattr__ = fallback(__name__)

ops = manual_cast


def attention_pytorch(
    q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, attn_precision: torch.dtype | None = None,
    skip_reshape: bool = False, skip_output_reshape: bool = False, **options: object,
) -> Tensor:  # fmt: skip
    """Multi-head attention of q [B, N, C] to k, v [B, M, C]: [B, N, C].

    With `skip_reshape` they come as [B, heads, N, C / heads]; with `skip_output_reshape` the answer stays so. `mask` is
    added to the scores, or where boolean says what may be seen; without a batch or heads it counts for all.
    """
    if not skip_reshape:
        q, k, v = (part.view(part.shape[0], -1, heads, part.shape[-1] // heads).transpose(1, 2) for part in (q, k, v))
    if mask is not None:
        if mask.ndim == 2:
            mask = mask.unsqueeze(0)
        if mask.ndim == 3:
            mask = mask.unsqueeze(1)
    out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=0.0, is_causal=False)
    return out if skip_output_reshape else out.transpose(1, 2).flatten(2)


def optimized_attention(*args: object, **kwargs: object) -> Tensor:
    """The attention in use: torch's."""
    return attention_pytorch(*args, **kwargs)


def optimized_attention_masked(*args: object, **kwargs: object) -> Tensor:
    """The attention in use for calls with a mask: torch's."""
    return attention_pytorch(*args, **kwargs)


attention_basic = attention_sub_quad = attention_split = attention_pytorch


def optimized_attention_for_device(device: torch.device, mask: bool = False, small_input: bool = False) -> object:
    """The attention for a device."""
    return optimized_attention_masked if mask else optimized_attention


def exists(val: object) -> bool:
    """Whether it is not None."""
    return val is not None


def default(val: object, d: object) -> object:
    """`val`, or where it is None `d` (called, if it is a function)."""
    if val is not None:
        return val
    return d() if callable(d) and not isinstance(d, Tensor | nn.Module) else d


class GEGLU(nn.Module, metaclass=Alias):
    """A linear layer gated by GELU (Shazeer 2020, arXiv:2002.05202)."""

    core = unet_layers.GEGLU

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        dtype: torch.dtype | None = None,
        device: object = None,
        operations: object = ops,
    ) -> None:
        super().__init__()
        self.proj = operations.Linear(dim_in, dim_out * 2, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """Half of the projection times GELU of the other half."""
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * functional.gelu(gate)


class FeedForward(nn.Module, metaclass=Alias):
    """Two linear layers with an activation between them."""

    core = unet_layers.FeedForward

    def __init__(
        self, dim: int, dim_out: int | None = None, mult: int = 4, glu: bool = False, dropout: float = 0.0,
        dtype: torch.dtype | None = None, device: object = None, operations: object = ops,
    ) -> None:  # fmt: skip
        super().__init__()
        inner = int(dim * mult)
        first = (
            GEGLU(dim, inner, dtype=dtype, device=device, operations=operations)
            if glu
            else nn.Sequential(operations.Linear(dim, inner, dtype=dtype, device=device), nn.GELU())
        )
        last = operations.Linear(inner, dim_out or dim, dtype=dtype, device=device)
        self.net = nn.Sequential(first, nn.Dropout(dropout), last)

    def forward(self, x: Tensor) -> Tensor:
        """x through both layers."""
        return self.net(x)


class CrossAttention(nn.Module, metaclass=Alias):
    """Attention of tokens to a context, with projections (Vaswani et al. 2017, arXiv:1706.03762)."""

    core = unet_layers.CrossAttention

    def __init__(
        self, query_dim: int, context_dim: int | None = None, heads: int = 8, dim_head: int = 64, dropout: float = 0.0,
        attn_precision: torch.dtype | None = None, dtype: torch.dtype | None = None, device: object = None,
        operations: object = ops,
    ) -> None:  # fmt: skip
        super().__init__()
        inner = dim_head * heads
        self.heads, self.dim_head, self.attn_precision = heads, dim_head, attn_precision
        made = {"dtype": dtype, "device": device}
        self.to_q = operations.Linear(query_dim, inner, bias=False, **made)
        self.to_k = operations.Linear(context_dim or query_dim, inner, bias=False, **made)
        self.to_v = operations.Linear(context_dim or query_dim, inner, bias=False, **made)
        self.to_out = nn.Sequential(operations.Linear(inner, query_dim, **made), nn.Dropout(dropout))

    def forward(
        self, x: Tensor, context: Tensor | None = None, value: Tensor | None = None, mask: Tensor | None = None,
        transformer_options: object = None,
    ) -> Tensor:  # fmt: skip
        """x [B, N, C] with what it sees of the context."""
        context = x if context is None else context
        seen = context if value is None else value
        out = optimized_attention(self.to_q(x), self.to_k(context), self.to_v(seen), self.heads, mask=mask)
        return self.to_out(out)
