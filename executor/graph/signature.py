"""A node's cache key: what its result depends on, made from the keys of the nodes it links. Knows no results.

Keys are digests over class, fingerprint, literals and the keys of linked nodes (a Merkle tree), so each node is hashed
once. Unlike the reference (execution.md section 7), 1, 1.0 and True are different values.

Where prompts have owners, keys are each owner's own: a result may be of the owner's files, name them, or hold its
prompt. But model files are everybody's, and loading them once for each owner would cost seconds and memory: what a
node of ours makes of the name of a model file alone is shared.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from executor.contract.concrete import concrete
from executor.contract.definition import FileChoices
from executor.graph.components import components, is_loop
from executor.graph.prompt import is_link, link_of

if TYPE_CHECKING:
    from executor.contract.definition import NodeDef
    from executor.graph.dynamic import DynamicPrompt

Key = bytes

Describe = Callable[[str], "NodeDef | None"]
"""The definition of a class by name, None for an unknown one."""


class Signatures:
    """The keys of a running prompt's nodes; a key never changes while the prompt runs."""

    def __init__(self, graph: DynamicPrompt, describe: Describe, owner: str = "") -> None:
        self._graph = graph
        self._describe = describe
        self._owner = owner.encode("utf-8", "surrogatepass")
        self._keys: dict[str, Key] = {}

    def __getitem__(self, node_id: str) -> Key:
        return self._keys[node_id]

    def get(self, node_id: str) -> Key | None:
        """The key of a node, None if it has none yet."""
        return self._keys.get(node_id)

    def add(self, node_ids: Iterable[str], fingerprints: Mapping[str, object]) -> None:
        """Make the keys of nodes and of all they link to; `fingerprints` holds what their classes told of a change."""
        for part in components([node_id for node_id in node_ids if node_id not in self._keys], self._unknown_sources):
            loop = is_loop(part, self._unknown_sources)
            for node_id in part:
                self._keys[node_id] = unique() if loop else self._key(node_id, fingerprints.get(node_id, False))

    def _unknown_sources(self, node_id: str) -> list[str]:
        return [link.node for _, link in self._graph.links(node_id) if link.node not in self._keys]

    def _key(self, node_id: str, fingerprint: object) -> Key:
        class_type = self._graph.class_type(node_id)
        definition = self._describe(class_type)
        digest = hashlib.blake2b(digest_size=16)
        for token in _tokens([class_type, fingerprint]):
            digest.update(token)
        if definition is not None and _names_its_id(definition):
            digest.update(b"i" + node_id.encode("utf-8", "surrogatepass"))
        inputs = self._graph.inputs(node_id)
        if self._owner and not _loads_a_model(definition, inputs):
            digest.update(b"o%d:" % len(self._owner) + self._owner)
        real = definition if definition is None else concrete(definition, inputs)
        for name in sorted(inputs, key=str):
            digest.update(b"n" + str(name).encode("utf-8", "surrogatepass") + b"\x00")
            for token in self._value_tokens(inputs[name], _is_raw(real, name)):
                digest.update(token)
        return digest.digest()

    def _value_tokens(self, value: object, is_raw: bool) -> Iterator[bytes]:
        if not is_link(value):
            yield from _tokens(value)
            return
        link = link_of(value)
        yield b"L" + self._keys.get(link.node, b"missing") + str(link.slot).encode()
        if is_raw:  # the node gets the link itself, and with it the id
            yield b"i" + link.node.encode("utf-8", "surrogatepass")


def unique() -> Key:
    """A key that equals no other."""
    return secrets.token_bytes(16)


def _names_its_id(definition: NodeDef) -> bool:
    return definition.not_idempotent or any(
        item.kind == "hidden" and item.type == "UNIQUE_ID" for item in definition.inputs
    )


def _loads_a_model(definition: NodeDef | None, inputs: Mapping[str, object]) -> bool:
    """Tell whether a node is one of ours whose result depends on files of the model folders and plain values alone."""
    if definition is None or definition.pack.startswith("custom_nodes"):
        return False
    if definition.is_output or definition.has_fingerprint or any(map(is_link, inputs.values())):
        return False
    sources = [item.choices.source for item in definition.inputs if isinstance(item.choices, FileChoices)]
    is_plain = all(item.kind != "hidden" and item.dynamic is None for item in definition.inputs)
    return bool(sources) and "input" not in sources and is_plain


def _is_raw(definition: NodeDef | None, name: str) -> bool:
    told = definition.told(name) if definition is not None else None
    return told is not None and told.raw_link


def _tokens(value: object) -> Iterator[bytes]:
    """A value as bytes that differ whenever it does: by content for JSON data, never equal for anything else.

    A NaN equals nothing, which is how a class says "always run".
    """
    stack = [value]
    while stack:
        item = stack.pop()
        match item:
            case None | bool():
                yield f"c{item};".encode()
            case int():
                yield f"i{item:x};".encode()
            case float():
                yield b"u" + unique() if item != item else f"f{float(item)!r};".encode()
            case str():
                encoded = str.__str__(item).encode("utf-8", "surrogatepass")
                yield b"s%d:" % len(encoded) + encoded
            case bytes():
                yield b"b%d:" % len(item) + item
            case list() | tuple():
                yield b"l%d;" % len(item)
                stack.extend(reversed(item))
            case dict() if all(isinstance(key, str) for key in item):
                yield b"d%d;" % len(item)
                for key in sorted(item, reverse=True):
                    stack += (item[key], key)
            case _:
                yield b"u" + unique()
