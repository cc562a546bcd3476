"""`comfy_execution`: what packs import of the engine. The engine is Weft's own (executor.graph)."""

from nodes import placeholders

__getattr__ = placeholders.submodules(__name__)
