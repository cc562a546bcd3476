"""Flux.1's layers: Weft's own classes under the names that packs test for, and its waves."""

import torch
from torch import Tensor

from executor.inference import unet_layers
from executor.inference.flux_layers import (
    DoubleStreamBlock,
    EmbedND,
    LastLayer,
    MLPEmbedder,
    Modulation,
    QKNorm,
    RMSNorm,
    SelfAttention,
    SingleStreamBlock,
)
from nodes.placeholders import fallback

__all__ = [
    "DoubleStreamBlock",
    "EmbedND",
    "LastLayer",
    "MLPEmbedder",
    "Modulation",
    "QKNorm",
    "RMSNorm",
    "SelfAttention",
    "SingleStreamBlock",
]

__getattr__ = fallback(__name__)


def timestep_embedding(t: Tensor, dim: int, max_period: int = 10000, time_factor: float = 1000.0) -> Tensor:
    """Cosines and sines [B, dim] of times [B] in 0..1, in their type."""
    waves = unet_layers.timestep_embedding(t.float() * time_factor, dim)
    return waves.to(t) if torch.is_floating_point(t) else waves
