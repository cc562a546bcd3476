"""Small functions around UNets."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from executor.inference.unet_layers import timestep_embedding
from nodes.placeholders import fallback

__all__ = ["timestep_embedding"]

__getattr__ = fallback(__name__)


def checkpoint(func: Callable[..., Tensor], inputs: tuple[object, ...], params: object, flag: bool) -> Tensor:
    """Call a function: gradients are never needed here."""
    return func(*inputs)
