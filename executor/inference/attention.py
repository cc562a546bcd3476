"""Attention between rows of tokens. Knows no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from executor.inference.seams import seam

Attend: TypeAlias = Callable[..., Tensor]


def mixed_by_torch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    mask: Tensor | None = None,
    attn_precision: torch.dtype | None = None,
    skip_reshape: bool = False,
    skip_output_reshape: bool = False,
    **options: object,
) -> Tensor:
    """Multi-head attention of q [B, N, C] to k and v [B, M, C]: [B, N, C] (Vaswani et al. 2017, arXiv:1706.03762).

    With `skip_reshape` they come as [B, heads, N, C / heads]; with `skip_output_reshape` the answer stays so. `mask`
    [N, M], [B, N, M] or [B, heads, N, M] is added to the scores, or where boolean says what may be seen.
    """
    if not skip_reshape:
        q, k, v = (part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in (q, k, v))
    if mask is not None and mask.ndim == 3:
        mask = mask[:, None]
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed if skip_output_reshape else mixed.transpose(1, 2).flatten(2)


@seam("ldm.modules.attention.optimized_attention")
def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **options: object) -> Tensor:
    """The attention of a network's blocks: `mixed_by_torch`, or what a pack put in its place."""
    return mixed_by_torch(q, k, v, heads, mask, **options)  # type: ignore[arg-type]


@seam("ldm.modules.attention.optimized_attention_masked")
def attend_masked(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **options: object) -> Tensor:
    """The same for calls with a mask, which packs replace apart."""
    return mixed_by_torch(q, k, v, heads, mask, **options)  # type: ignore[arg-type]
