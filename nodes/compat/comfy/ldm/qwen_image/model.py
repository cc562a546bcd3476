"""Qwen-Image's network: Weft's own class under the name that packs test for."""

from executor.inference.qwen_image import QwenImage as QwenImageTransformer2DModel
from nodes.placeholders import fallback

__all__ = ["QwenImageTransformer2DModel"]

__getattr__ = fallback(__name__)
