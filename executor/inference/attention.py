"""Attention between rows of tokens. Knows no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor
from torch.nn import functional

Attend: TypeAlias = Callable[..., Tensor]


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Multi-head attention of queries [B, N, C] to keys and values [B, M, C] (Vaswani et al. 2017, arXiv:1706.03762).

    `mask` [N, M], [B, N, M] or [B, heads, N, M] is added to the scores, or where boolean says what may be seen.
    """
    query, key, value = (part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in (query, key, value))
    if mask is not None and mask.ndim == 3:
        mask = mask[:, None]
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return mixed.transpose(1, 2).flatten(2)
