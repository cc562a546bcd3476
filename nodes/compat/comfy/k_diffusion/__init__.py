"""Samplers under the names of k-diffusion."""

from nodes.placeholders import submodules

__getattr__ = submodules(__name__)
