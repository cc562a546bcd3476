"""Operations of a network's blocks on tokens that nobody else has, in the place of what they are given.

They save memory and its first touching. Where gradients are asked for they leave their inputs as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def gelu(x: Tensor) -> Tensor:
    """GELU by tanh (Hendrycks and Gimpel 2016, arXiv:1606.08415) of x [...]."""
    if x.requires_grad:
        return functional.gelu(x, approximate="tanh")
    activated: Tensor = torch.ops.aten.gelu_(x, approximate="tanh")
    return activated


def plus(x: Tensor, gate: Tensor, answer: Tensor) -> Tensor:
    """x [B, N, C] with as much of an answer of its shape as a gate [B, 1 or N, C] lets through."""
    return x.addcmul_(gate, answer) if may_write(x, gate, answer) else torch.addcmul(x, gate, answer)


def summed(x: Tensor, answer: Tensor) -> Tensor:
    """x [...] and an answer of its shape."""
    return x.add_(answer) if may_write(x, answer) else x + answer


def may_write(x: Tensor, *others: Tensor) -> bool:
    """Whether x may hold what it and others become: it has their type, and nobody asks for gradients."""
    return not x.requires_grad and all(x.dtype == each.dtype and not each.requires_grad for each in others)


class Gelu(nn.GELU):
    """GELU behind a layer whose answer it writes over."""

    def __init__(self) -> None:
        super().__init__(approximate="tanh")

    def forward(self, input: Tensor) -> Tensor:
        """x [...] to the same shape."""
        return gelu(input)
