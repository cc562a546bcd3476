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
    angles = [axis_angles(places[..., axis], width) for axis, width in enumerate(widths)]
    return turns_by(torch.cat(angles, dim=-1))[:, None]


def axis_rotations(places: Tensor, width: int) -> Tensor:
    """Turns [B, N, width / 2, 2, 2], float32, of tokens at places [B, N] on one axis."""
    return turns_by(axis_angles(places, width))


def axis_angles(places: Tensor, width: int) -> Tensor:
    """Angles [B, N, width / 2] of tokens at places [B, N] on one axis, in 64 bits where the device has them."""
    dtype = torch.float64 if places.device.type in EXACT else torch.float32
    steps = torch.arange(0, width, 2, dtype=dtype, device=places.device) / width
    return places.to(dtype)[..., None] * LONGEST_PERIOD**-steps


def turns_by(angles: Tensor) -> Tensor:
    """Turns [..., 2, 2], float32, by angles [...]; their first columns lie side by side, which `rotated` reads."""
    cosine, sine = angles.cos().float(), angles.sin().float()
    columns = torch.stack([torch.stack([cosine, sine], dim=-1), torch.stack([-sine, cosine], dim=-1)])
    return columns.movedim(0, -1)


def rotated(x: Tensor, turns: Tensor) -> Tensor:
    """Queries or keys [B, heads, N, C] with each pair of numbers turned by [B, 1, N, C / 2, 2, 2].

    A pair is turned as a complex number, by one product in place of two and a sum: an eighth of the time on a CPU.
    """
    pairs = as_complex(x.reshape(*x.shape[:-1], -1, 2)) * as_complex(turns[..., 0])
    return torch.view_as_real(pairs).flatten(-2).to(x.dtype)


def as_complex(pairs: Tensor) -> Tensor:
    """Complex numbers [...] of pairs [..., 2]: a view, where they are float32 and lie as such numbers do."""
    pairs = pairs.float()
    steps = (pairs.storage_offset(), *pairs.stride()[:-1])
    is_laid_out = pairs.stride(-1) == 1 and not any(step % 2 for step in steps)
    return torch.view_as_complex(pairs if is_laid_out else pairs.contiguous())


def axis_widths(width: int) -> tuple[int, int, int]:
    """How many of a head's numbers tell a token's picture, row and column: 16, 56 and 56 of 128, in that proportion."""
    side = (width - width // 8) // 4 * 2
    return width - 2 * side, side, side
