"""Qwen-Image's parts under the names that packs import; the rest below is answered by stand-ins."""

from nodes.placeholders import submodules

__getattr__ = submodules(__name__)
