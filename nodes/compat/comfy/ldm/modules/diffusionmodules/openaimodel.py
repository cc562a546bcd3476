"""The UNet of latent diffusion and its parts: Weft's own classes under the names that packs test for."""

from executor.inference.unet import UNet as UNetModel
from executor.inference.unet_layers import (
    BasicTransformerBlock,
    Downsample,
    ResBlock,
    SpatialTransformer,
    Upsample,
    timestep_embedding,
)
from nodes.placeholders import fallback

__all__ = [
    "BasicTransformerBlock",
    "Downsample",
    "ResBlock",
    "SpatialTransformer",
    "UNetModel",
    "Upsample",
    "timestep_embedding",
]

__getattr__ = fallback(__name__)
