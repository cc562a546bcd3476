"""Wan's network: Weft's own classes under the names that packs test for."""

from torch import Tensor

from executor.inference.unet_layers import timestep_embedding
from executor.inference.wan import Wan
from executor.inference.wan_layers import (
    Head,
    MLPProj,
    VaceWanAttentionBlock,
    WanAttentionBlock,
    WanCrossAttention,
    WanSelfAttention,
)
from nodes.placeholders import fallback

__all__ = [
    "Head",
    "MLPProj",
    "VaceWanAttentionBlock",
    "VaceWanModel",
    "WanAttentionBlock",
    "WanCrossAttention",
    "WanModel",
    "WanSelfAttention",
    "sinusoidal_embedding_1d",
]

__getattr__ = fallback(__name__)

WanModel = VaceWanModel = Wan


def sinusoidal_embedding_1d(dim: int, position: Tensor) -> Tensor:
    """Cosines and sines [N, dim] of numbers [N]."""
    return timestep_embedding(position, dim)
