"""Rounds changed weights to their type; to 8 bits so that small changes survive on average. Knows no patches.

Between two 8-bit numbers lie up to 12 % of a weight, more than most LoRAs change it: the nearest number is mostly the
old one. Stochastic rounding takes the one or the other as often as the value is near to it, so that sums over a row
keep the change (Croci et al. 2022, doi:10.1098/rsos.211631).
"""

from __future__ import annotations

import zlib
from types import MappingProxyType

import torch
from torch import Tensor

MANTISSA_BITS = MappingProxyType({torch.float8_e4m3fn: 3, torch.float8_e5m2: 2})
"""8-bit types whose numbers lie so many bits apart (Micikevicius et al. 2022, arXiv:2209.05433)."""

PART = 1 << 22  # values that are rounded at a time: what is needed on the way is several times as large as a weight


def rounded(weight: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """A float32 weight in a type, on its device; the same name is rounded the same way each time.

    Numbers that the type holds stay as they are, and those beyond its range become its largest.
    """
    if dtype not in MANTISSA_BITS:
        return weight.to(dtype)
    generator = torch.Generator(weight.device).manual_seed(zlib.crc32(name.encode()))
    values = torch.empty(weight.numel(), dtype=dtype, device=weight.device)
    for part, place in zip(torch.split(weight.flatten(), PART), torch.split(values, PART), strict=True):
        place.copy_(by_chance(part, dtype, generator))
    return torch.empty_like(weight, dtype=dtype).copy_(values.view(weight.shape))


def by_chance(values: Tensor, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Float32 values as those of an 8-bit type below or above them."""
    limits, size = torch.finfo(dtype), values.abs()
    exponents = torch.frexp(size.clamp(min=limits.tiny)).exponent - 1
    step = torch.ldexp(torch.ones_like(size), exponents - MANTISSA_BITS[dtype])
    drawn = torch.rand(size.shape, generator=generator, device=size.device)
    sized = ((size / step + drawn).floor() * step).clamp(max=limits.max)
    return sized.copysign(values)
