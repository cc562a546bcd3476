"""Attention as packs call and replace it. Networks' blocks are not here."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from comfy.handles import Alias
from comfy.ops import manual_cast
from comfy.seams import joined
from executor.inference import attention as _attention
from executor.inference import unet_layers
from executor.inference.unet_layers import BasicTransformerBlock, SpatialTransformer

__all__ = ["BasicTransformerBlock", "SpatialTransformer"]

__getattr__ = joined(
    __name__,
    {"optimized_attention": _attention.attend, "optimized_attention_masked": _attention.attend_masked},
)

ops = manual_cast


attention_pytorch = _attention.mixed_by_torch
attention_basic = attention_sub_quad = attention_split = attention_pytorch


def optimized_attention_for_device(device: torch.device, mask: bool = False, small_input: bool = False) -> object:
    """The attention for a device."""
    return _attention.attend_masked.current if mask else _attention.attend.current


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
        attend = _attention.attend if mask is None else _attention.attend_masked
        out = attend(self.to_q(x), self.to_k(context), self.to_v(seen), self.heads, mask=mask)
        return self.to_out(out)
