"""Calls nodes as a graph does, and puts recorded values in the place of their descriptions. Knows no case."""

from __future__ import annotations

import functools
from typing import Any

import nodes
from executor.graph.bind import bound
from nodes.registry import Registry
from tests.parity.recording import Recording


@functools.cache
def registry() -> Registry:
    """The built-in nodes."""
    return nodes.load()


def call(name: str, **inputs: object) -> list[Any]:
    """What a node answers; UnknownName when there is none of that name."""
    definition, cls = registry().get(name)
    function = bound(cls if definition.by_schema else cls(), cls.FUNCTION, definition, {})
    result = function(**inputs)
    if isinstance(result, dict):
        result = result["result"]
    return list(getattr(result, "args", None) or result)


def filled(recording: Recording, file: str, value: object) -> Any:
    """A described value with tensors, latents and dictionaries in place of their descriptions."""
    match value:
        case {"$t": key}:
            return recording.tensor(file, key)
        case {"$latent": parts} | {"$dict": parts}:
            return {name: filled(recording, file, part) for name, part in parts.items()}
        case dict():
            return {name: filled(recording, file, part) for name, part in value.items()}
        case list():
            return [filled(recording, file, part) for part in value]
        case _:
            return value
