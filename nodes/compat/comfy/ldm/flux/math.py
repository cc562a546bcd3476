"""Flux.1's attention and turns under the names that packs import."""

from torch import Tensor

from executor.inference.flux_layers import mixed
from executor.inference.rotary import axis_rotations, rotated
from nodes.placeholders import fallback

__getattr__ = fallback(__name__)


def attention(
    q: Tensor, k: Tensor, v: Tensor, pe: Tensor, mask: Tensor | None = None, transformer_options: object = None
) -> Tensor:
    """Attention [B, N, C] of turned queries to turned keys, all [B, heads, N, C / heads]."""
    options = transformer_options if isinstance(transformer_options, dict) else {}
    return mixed(q, k, v, pe, mask, options, q.shape[1])


def rope(pos: Tensor, dim: int, theta: int = 10000) -> Tensor:
    """Turns [B, N, dim / 2, 2, 2] of places [B, N] on one axis."""
    return axis_rotations(pos, dim)


def apply_rope(xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys [B, heads, N, C], turned."""
    return rotated(xq, freqs_cis), rotated(xk, freqs_cis)
