"""The function of a node that the engine calls, with what it needs beside arguments. Calls nothing.

A V1 node is called on its instance. A V3 node (reference/execution.md section 14) is called on a locked clone of its
class that carries the hidden values, and gets the values of dynamic inputs in dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from executor.contract.concrete import Leaf, nested
from executor.contract.definition import NodeDef
from executor.contract.v3.node import ComfyNode, locked

Function = Callable[..., object]
Arrange = Callable[[Mapping[str, object]], Mapping[str, object]]


def bound(owner: object, name: str, definition: NodeDef, hidden: Mapping[str, object]) -> Function:
    """Function `name` of a node's instance or class; AttributeError if there is none."""
    if definition.by_schema:
        cls = owner if isinstance(owner, type) else type(owner)
        owner = locked(cast("type[ComfyNode]", cls), hidden)
    return cast(Function, getattr(owner, name))


def arranging(definition: NodeDef, leaf: Leaf | None = None) -> Arrange | None:
    """How the arguments of each call become what the node expects; None if they are so already."""
    if not definition.is_dynamic:
        return None
    return lambda arguments: nested(definition, arguments, leaf)
