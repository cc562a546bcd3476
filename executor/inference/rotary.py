"""Rotary positions of tokens along several axes (Su et al. 2021, arXiv:2104.09864), as Flux.1 uses them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LONGEST_PERIOD = 10000.0
EXACT = frozenset({"cpu", "cuda"})
"""Devices that compute in 64 bits."""


def rotations(places: Tensor, widths: Sequence[int]) -> Tensor:
    """Turns [B, 1, N, C / 2, 2, 2], float32, of tokens at places [B, N, axes]; each axis turns so many of C numbers."""
    turned = [axis_rotations(places[..., axis], width) for axis, width in enumerate(widths)]
    return torch.cat(turned, dim=-3)[:, None]


def axis_rotations(places: Tensor, width: int) -> Tensor:
    """Turns [B, N, width / 2, 2, 2], float32, of tokens at places [B, N] on one axis."""
    dtype = torch.float64 if places.device.type in EXACT else torch.float32
    steps = torch.arange(0, width, 2, dtype=dtype, device=places.device) / width
    angles = places.to(dtype)[..., None] * LONGEST_PERIOD**-steps
    cosine, sine = angles.cos(), angles.sin()
    return torch.stack([cosine, -sine, sine, cosine], dim=-1).reshape(*angles.shape, 2, 2).float()


def rotated(x: Tensor, turns: Tensor) -> Tensor:
    """Queries or keys [B, heads, N, C] with each pair of numbers turned by [B, 1, N, C / 2, 2, 2]."""
    first, second = x.float().reshape(*x.shape[:-1], -1, 2).unbind(-1)
    pairs = turns[..., 0] * first[..., None] + turns[..., 1] * second[..., None]
    return pairs.flatten(-2).to(x.dtype)


def axis_widths(width: int) -> tuple[int, int, int]:
    """How many of a head's numbers tell a token's picture, row and column: 16, 56 and 56 of 128, in that proportion."""
    side = (width - width // 8) // 4 * 2
    return width - 2 * side, side, side
