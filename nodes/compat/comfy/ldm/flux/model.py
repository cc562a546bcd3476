"""Flux.1's network: Weft's own class under the name that packs test for."""

from executor.inference.flux import Flux
from nodes.placeholders import fallback

__all__ = ["Flux"]

__getattr__ = fallback(__name__)
