"""Laying one picture over another by their alphas (Porter & Duff 1984, and the usual separable blends). No nodes."""

from collections.abc import Callable
from types import MappingProxyType

import torch
from torch import Tensor

Blend = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _either(source: Tensor, destination: Tensor) -> Tensor:
    return source + destination - source * destination


def _overlay(s: Tensor, sa: Tensor, d: Tensor, da: Tensor) -> tuple[Tensor, Tensor]:
    dark = 2 * s * d
    light = sa * da - 2 * (da - s) * (sa - d)  # s and d stand in each other's place in the recorded pictures
    return torch.where(2 * d < da, dark, light), _either(sa, da)


MODES: MappingProxyType[str, Blend] = MappingProxyType(
    {
        "ADD": lambda s, sa, d, da: ((s + d).clamp(0, 1), (sa + da).clamp(0, 1)),
        "CLEAR": lambda s, sa, d, da: (torch.zeros_like(d), torch.zeros_like(da)),
        "DARKEN": lambda s, sa, d, da: ((1 - da) * s + (1 - sa) * d + torch.minimum(s, d), _either(sa, da)),
        "DST": lambda s, sa, d, da: (d, da),
        "DST_ATOP": lambda s, sa, d, da: (sa * d + (1 - da) * s, sa),
        "DST_IN": lambda s, sa, d, da: (d * sa, sa * da),
        "DST_OUT": lambda s, sa, d, da: ((1 - sa) * d, (1 - sa) * da),
        "DST_OVER": lambda s, sa, d, da: (d + (1 - da) * s, da + (1 - da) * sa),
        "LIGHTEN": lambda s, sa, d, da: ((1 - da) * s + (1 - sa) * d + torch.maximum(s, d), _either(sa, da)),
        "MULTIPLY": lambda s, sa, d, da: (s * d, sa * da),
        "OVERLAY": _overlay,
        "SCREEN": lambda s, sa, d, da: (_either(s, d), _either(sa, da)),
        "SRC": lambda s, sa, d, da: (s, sa),
        "SRC_ATOP": lambda s, sa, d, da: (da * s + (1 - sa) * d, da),
        "SRC_IN": lambda s, sa, d, da: (s * da, sa * da),
        "SRC_OUT": lambda s, sa, d, da: ((1 - da) * s, (1 - da) * sa),
        "SRC_OVER": lambda s, sa, d, da: (s + (1 - sa) * d, sa + (1 - sa) * da),
        "XOR": lambda s, sa, d, da: ((1 - da) * s + (1 - sa) * d, (1 - da) * sa + (1 - sa) * da),
    }
)
"""Name → (colours, alpha) of the result, from premultiplied colours s, d and alphas sa, da, all in 0..1."""


def composite(
    source: Tensor, source_alpha: Tensor, below: Tensor, below_alpha: Tensor, mode: str
) -> tuple[Tensor, Tensor]:
    """Colours [..., 3] and alpha [..., 1] of `source` over `below`, none of them premultiplied."""
    colours, alpha = MODES[mode](source * source_alpha, source_alpha, below * below_alpha, below_alpha)
    plain = torch.where(alpha > 1e-5, colours / alpha, torch.zeros_like(colours))
    return plain.clamp(0, 1), alpha
