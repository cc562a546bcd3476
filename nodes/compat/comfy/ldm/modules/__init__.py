"""A package of network parts; nearly all below is answered by stand-ins."""

from nodes.placeholders import submodules

__getattr__ = submodules(__name__)
