"""`comfy_execution.graph`: blockers, the running graph, and what a class says of an input."""

from __future__ import annotations

from collections.abc import Mapping

from executor.contract.blocker import ExecutionBlocker
from executor.errors import DependencyCycle as DependencyCycleError
from executor.errors import NodeInputError
from executor.graph.dynamic import DynamicPrompt
from executor.graph.dynamic import UnknownNodeId as NodeNotFoundError
from executor.graph.prompt import is_link
from nodes import placeholders

__getattr__ = placeholders.fallback(__name__)

SECTIONS = ("required", "optional", "hidden")

__all__ = [
    "DependencyCycleError",
    "DynamicPrompt",
    "ExecutionBlocker",
    "NodeInputError",
    "NodeNotFoundError",
    "get_input_info",
    "is_link",
]


def get_input_info(
    class_def: type, input_name: str, valid_inputs: Mapping[str, object] | None = None
) -> tuple[object, str, dict[str, object]] | tuple[None, None, None]:
    """Type, section and options of an input of a node class; three times None if it has no such input."""
    declared = class_def.INPUT_TYPES() if valid_inputs is None else valid_inputs
    for section in SECTIONS:
        entry = declared.get(section, {}).get(input_name)
        if entry is not None:
            entry = entry if isinstance(entry, tuple | list) else (entry,)
            return entry[0], section, entry[1] if len(entry) > 1 else {}
    return None, None, None
