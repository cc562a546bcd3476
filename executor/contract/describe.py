"""Reads a node class of either contract into the one internal definition."""

from __future__ import annotations

from executor.contract import v1
from executor.contract.definition import NodeDef
from executor.contract.v3 import describe as v3
from executor.contract.v3.node import ComfyNode


def describe(name: str, cls: type, *, display_name: str | None = None, pack: str = "nodes") -> NodeDef:
    """The definition of a node class, V1 or V3; raises what the class's own listing raises, TypeError for no class."""
    if is_v3(cls):
        return v3.describe(name, cls, display_name=display_name, pack=pack)
    return v1.describe(name, cls, display_name=display_name, pack=pack)


def is_v3(cls: type) -> bool:
    """Tell whether a class is written by the V3 contract."""
    return isinstance(cls, type) and issubclass(cls, ComfyNode)
