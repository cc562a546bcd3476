"""The transformer of Stable Diffusion 3 and its parts: Weft's own classes under the names that packs test for."""

from executor.inference.mmdit import MMDiT
from executor.inference.mmdit_layers import FinalLayer, JointBlock, VectorEmbedder
from nodes.placeholders import fallback

__all__ = ["FinalLayer", "JointBlock", "MMDiT", "VectorEmbedder"]

__getattr__ = fallback(__name__)
