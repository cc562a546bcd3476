"""Attention between rows of tokens. Knows no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from executor import context as running
from executor.inference.attention_kernels import attend_fast
from executor.inference.seams import seam

Attend: TypeAlias = Callable[..., Tensor]

MOST_SCORES = 1 << 32  # some ten seconds on a CPU


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
    mixed = _in_parts(q, k, v) if mask is None else functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed if skip_output_reshape else mixed.transpose(1, 2).flatten(2)


def _in_parts(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of q [B, heads, N, C], by parts of N where it is so long that the user may want to stop within it."""
    scores = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
    if scores <= MOST_SCORES or q.device.type != "cpu":  # seconds on a CPU; a GPU's queue is not stopped by it
        return attend_fast(q, k, v)
    mixed = []
    for part in q.chunk(-(-scores // MOST_SCORES), dim=2):
        if not torch.compiler.is_compiling():
            running.current().check_interrupt()
        mixed.append(functional.scaled_dot_product_attention(part, k, v))
    return torch.cat(mixed, dim=2)


@seam("ldm.modules.attention.optimized_attention")
def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **options: object) -> Tensor:
    """The attention of a network's blocks: `mixed_by_torch`, or what a pack put in its place."""
    return mixed_by_torch(q, k, v, heads, mask, **options)  # type: ignore[arg-type]


@seam("ldm.modules.attention.optimized_attention_masked")
def attend_masked(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **options: object) -> Tensor:
    """The same for calls with a mask, which packs replace apart."""
    return mixed_by_torch(q, k, v, heads, mask, **options)  # type: ignore[arg-type]


def is_own(options: Mapping[str, object]) -> bool:
    """Whether no pack computes the attention of a call under these options."""
    replaced = attend.is_replaced or attend_masked.is_replaced
    return not replaced and not callable(options.get("optimized_attention_override"))
