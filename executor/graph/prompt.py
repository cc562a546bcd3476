"""A submitted graph: its nodes and links, and the refusal of malformed ones. Knows no node classes' code."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeGuard

from executor.errors import BadInput, InvalidPrompt, nearest

Json = object

MOST_NODES = 20_000
"""Nodes of a prompt; the largest workflows that are passed on have some thousand."""
LONGEST_ID = 1000
"""Characters of the id of a node, a prompt or a client."""


class Link(NamedTuple):
    """Output `slot` of node `node`."""

    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class PromptNode:
    """One node as submitted; `inputs` holds literals and raw `[id, slot]` links, None if the key is absent."""

    class_type: str
    inputs: Mapping[str, Json] | None
    title: str | None = None

    def links(self) -> Iterator[tuple[str, Link]]:
        """The linked inputs, in order."""
        for name, value in (self.inputs or {}).items():
            if is_link(value):
                yield name, link_of(value)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A graph in which every node names a class that exists; `raw` is the JSON object it came as."""

    nodes: Mapping[str, PromptNode]
    raw: Mapping[str, Mapping[str, Json]]

    @classmethod
    def parse(cls, value: Json, classes: Iterable[str]) -> Prompt:
        """Read the `prompt` field of a request; InvalidPrompt names the first node that cannot be read or is unknown.

        `classes`: the names of the node classes there are (a mapping of definitions will do).
        """
        if not isinstance(value, dict):
            raise InvalidPrompt("invalid_prompt", f"The prompt must be a JSON object, not {_kind(value)}.")
        if len(value) > MOST_NODES:
            raise InvalidPrompt("invalid_prompt", f"A prompt has at most {MOST_NODES} nodes.", f"it has {len(value)}")
        known: Container[str] = classes if isinstance(classes, Mapping) else frozenset(classes)
        if isinstance(value.get("nodes"), list) and "links" in value:
            text = "This is a workflow as the editor saves it, not a prompt. Export it as API and send that."
            raise InvalidPrompt("invalid_prompt", text, "its nodes are a list")
        nodes = {node_id: _node(node_id, node, known, classes) for node_id, node in value.items()}
        return cls(nodes=nodes, raw=value)


def _node(node_id: str, value: Json, known: Container[str], classes: Iterable[str]) -> PromptNode:
    if len(node_id) > LONGEST_ID:
        raise _malformed(node_id, f"A node's id has at most {LONGEST_ID} characters.")
    if not isinstance(value, dict):
        raise _malformed(node_id, f"A node must be a JSON object, not {_kind(value)}.")
    class_type = value.get("class_type")
    if class_type is None:
        raise _malformed(node_id, "Cannot execute because a node is missing the class_type property.")
    if not isinstance(class_type, str) or class_type not in known:
        raise _malformed(node_id, _unknown_class(class_type, classes))
    inputs = value.get("inputs")
    if inputs is not None and not isinstance(inputs, dict):
        raise _malformed(node_id, f"A node's inputs must be a JSON object, not {_kind(inputs)}.")
    meta = value.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return PromptNode(class_type, inputs, title if isinstance(title, str) else None)


def _malformed(node_id: str, message: str) -> InvalidPrompt:
    return InvalidPrompt("invalid_prompt", message, f"Node ID '#{node_id[:LONGEST_ID]}'")


def _unknown_class(class_type: Json, classes: Iterable[str]) -> str:
    message = f"Cannot execute because node {str(class_type)[:LONGEST_ID]} does not exist."
    near = nearest(class_type, classes) if isinstance(class_type, str) else None
    return message if near is None else f"{message} Did you mean {near}?"


def prompt_of(body: Mapping[str, Json]) -> Json:
    """The `prompt` field of a request's body; InvalidPrompt if there is none."""
    if "prompt" not in body:
        raise InvalidPrompt("no_prompt", "No prompt provided", "No prompt provided")
    return body["prompt"]


def is_link(value: object) -> TypeGuard[list[object]]:
    """Tell whether a JSON value is `[node id, slot]` (execution.md section 1)."""
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
        return False
    slot = value[1]
    return type(slot) is int or (isinstance(slot, int | float) and not isinstance(slot, bool) and math.isfinite(slot))


def link_of(value: list[object]) -> Link:
    """The link that a value passing `is_link` stands for; a float slot is cut to an integer."""
    node, slot = value
    if not isinstance(node, str) or not isinstance(slot, int | float):
        raise BadInput(f"{value!r} is no link")
    return Link(node, int(slot))


def unwrapped(value: Json) -> Json:
    """The content of `{"__value__": x}`, which lets a list be a literal; any other value itself."""
    if isinstance(value, dict) and "__value__" in value:
        return value["__value__"]
    return value


def is_finite(value: Json) -> bool:
    """Tell whether a JSON value holds neither NaN nor an infinite number, however deep."""
    if isinstance(value, str | int):
        return True
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return False
        elif isinstance(item, dict):
            rest.extend(item.values())
        elif isinstance(item, list):
            rest.extend(item)
    return True


def require_object(value: object, what: str) -> dict[str, Json]:
    """The JSON object `value`, or BadInput naming `what` it should have been."""
    if not isinstance(value, dict):
        raise BadInput(f"{what} must be a JSON object, not {_kind(value)}")
    return value


def _kind(value: object) -> str:
    return {"list": "an array", "str": "a text", "NoneType": "null", "bool": "a boolean"}.get(
        type(value).__name__, "a number"
    )
