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
from collections.abc import Callable, Iterable, Mapping
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
        left: list[str] = []
        for node_id in node_ids:
            if node_id in self._keys:
                continue
            if self._unknown_sources(node_id):
                left.append(node_id)
            else:  # as it mostly is: graphs are written in order
                self._keys[node_id] = self._key(node_id, fingerprints.get(node_id, False))
        for part in components(left, self._unknown_sources) if left else ():
            loop = is_loop(part, self._unknown_sources)
            for node_id in part:
                self._keys[node_id] = unique() if loop else self._key(node_id, fingerprints.get(node_id, False))

    def _unknown_sources(self, node_id: str) -> list[str]:
        return [link.node for _, link in self._graph.links(node_id) if link.node not in self._keys]

    def _key(self, node_id: str, fingerprint: object) -> Key:
        class_type = self._graph.class_type(node_id)
        definition = self._describe(class_type)
        inputs = self._graph.inputs(node_id)
        real = definition if definition is None else concrete(definition, inputs)
        links = dict(self._graph.links(node_id))
        parts = [b"t%b\x00" % _encoded(class_type)]
        if fingerprint is not False:
            parts.append(b"h" + _bytes_of(fingerprint))
        if definition is not None and definition.names_its_id:
            parts.append(b"i" + _encoded(node_id))
        if self._owner and not _loads_a_model(definition, inputs):
            parts.append(b"o%d:" % len(self._owner) + self._owner)
        for name in sorted(inputs, key=str):
            parts.append(b"n%b\x00" % _encoded(str(name)))
            value = inputs[name]
            if not is_link(value):
                parts.append(_bytes_of(value))
                continue
            link = links.get(name) or link_of(value)  # the second leads nowhere
            parts.append(b"L%b%d" % (self._keys.get(link.node, b"missing"), link.slot))
            if real is not None and _is_raw(real, name):  # the node gets the link itself, and with it the id
                parts.append(b"i" + _encoded(link.node))
        return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


def unique() -> Key:
    """A key that equals no other."""
    return secrets.token_bytes(16)


def _loads_a_model(definition: NodeDef | None, inputs: Mapping[str, object]) -> bool:
    """Tell whether a node is one of ours whose result depends on files of the model folders and plain values alone."""
    if definition is None or definition.pack.startswith("custom_nodes"):
        return False
    if definition.is_output or definition.has_fingerprint or any(map(is_link, inputs.values())):
        return False
    sources = [item.choices.source for item in definition.inputs if isinstance(item.choices, FileChoices)]
    is_plain = all(item.kind != "hidden" and item.dynamic is None for item in definition.inputs)
    return bool(sources) and "input" not in sources and is_plain


def _is_raw(definition: NodeDef, name: str) -> bool:
    told = definition.told(name)
    return told is not None and told.raw_link


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _bytes_of(value: object) -> bytes:
    """A value as bytes that differ whenever it does: by content for JSON data, never equal for anything else.

    A NaN equals nothing, which is how a class says "always run".
    """
    parts: list[bytes] = []
    stack = [value]
    while stack:
        item = stack.pop()
        match item:
            case str():
                encoded = _encoded(str.__str__(item))
                parts.append(b"s%d:%b" % (len(encoded), encoded))
            case None | bool():
                parts.append(b"c%a;" % item)
            case int():
                parts.append(b"i%x;" % item)
            case float():
                parts.append(b"u" + unique() if item != item else b"f%a;" % float(item))
            case bytes():
                parts.append(b"b%d:%b" % (len(item), item))
            case list() | tuple():
                parts.append(b"l%d;" % len(item))
                stack.extend(reversed(item))
            case dict() if all(isinstance(key, str) for key in item):
                parts.append(b"d%d;" % len(item))
                for key in sorted(item, reverse=True):
                    stack += (item[key], key)
            case _:
                parts.append(b"u" + unique())
    return b"".join(parts)
