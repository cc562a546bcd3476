"""Results of nodes kept from prompt to prompt, by key, and the nodes' instances. Knows no graph and runs nothing.

Ways of keeping (reference/execution.md section 7): `ClassicCache` what the last prompt had, `LruCache` also older
prompts' up to a number, `NoCache` nothing; `pressure.py` has the one that looks at free memory. A running prompt holds
what it still needs by itself (`results.py`), so a cache may drop any entry at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from executor.graph.signature import Key

Needed = Callable[[], Iterable[Key]]
"""Names the results that nodes of the running prompt may still ask for."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A node's ui output and where it belongs, as /history lists it."""

    node_id: str
    ui: Mapping[str, object]
    meta: Mapping[str, object]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A node's result: a list of items per output, its ui, and the ui of nodes that its expansion ran.

    `seconds` is what it took to make.
    """

    outputs: tuple[list[object], ...]
    ui: Mapping[str, object] | None = None
    inner: Sequence[Shown] = ()
    seconds: float = 0.0


class Cache(Protocol):
    """Where results go and come from. One prompt at a time; `begin` starts the next."""

    def begin(self, keys: Mapping[str, Key]) -> None:
        """Start a prompt with these nodes and keys, and drop what this way of keeping drops."""
        ...

    def adopt(self, root: str, keys: Iterable[Key]) -> None:
        """Keep the results under these keys as long as results of node `root`, whose expansion they are of."""
        ...

    def get(self, key: Key) -> Entry | None:
        """The result under a key, or None."""
        ...

    def put(self, key: Key, entry: Entry) -> None:
        """Keep a result."""
        ...

    def relieve(self, needed: Needed) -> None:
        """Called after each node: drop what there is no room for, but nothing that is still needed."""
        ...

    def instance(self, node_id: str, cls: type) -> object:
        """The instance of a class that belongs to a node id, made when first asked for."""
        ...

    def part(self) -> None:
        """Another owner's prompt begins: drop the instances of nodes, which may remember folders and more."""
        ...

    def clear(self) -> None:
        """Drop everything."""
        ...


class Instances:
    """One instance per node id and class, kept while prompts have the node."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, type], object] = {}

    def keep(self, node_ids: Mapping[str, Key], roots: Mapping[str, object]) -> None:
        """Drop the instances of nodes that are gone; ids below a kept node (`5.0.0.1`) stay with it."""
        self._made = {
            (node_id, cls): made
            for (node_id, cls), made in self._made.items()
            if node_id in node_ids or _root_of(node_id, roots) in node_ids
        }

    def get(self, node_id: str, cls: type) -> object:
        """The instance that belongs to a node id and class, made when first asked for."""
        if (node_id, cls) not in self._made:
            self._made[node_id, cls] = cls()
        return self._made[node_id, cls]

    def clear(self) -> None:
        """Drop them all."""
        self._made = {}


def _root_of(node_id: str, roots: Mapping[str, object]) -> str | None:
    """The longest expanding node whose id this one's starts with."""
    head = node_id
    while "." in head:
        head = head.rpartition(".")[0]
        if head in roots:
            return head
    return None


class ClassicCache:
    """Keeps the results of the current prompt's nodes, and of expansions while their node stays."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._instances = Instances()
        self._inner: dict[str, set[Key]] = {}  # keys of an expanding node's last expansion
        self._inner_now: dict[str, set[Key]] = {}  # the same, of the current prompt

    def begin(self, keys: Mapping[str, Key]) -> None:
        """Start a prompt: only what its nodes have keys for is kept."""
        known = {**self._inner, **self._inner_now}
        self._inner = {root: inner for root, inner in known.items() if root in keys}
        self._inner_now = {}
        kept = set(keys.values()).union(*self._inner.values())
        self._entries = {key: entry for key, entry in self._entries.items() if key in kept}
        self._instances.keep(keys, known)

    def adopt(self, root: str, keys: Iterable[Key]) -> None:
        """Keep these results as long as the node whose expansion they are of."""
        self._inner_now.setdefault(root, set()).update(keys)

    def get(self, key: Key) -> Entry | None:
        """The result under a key, or None."""
        return self._entries.get(key)

    def put(self, key: Key, entry: Entry) -> None:
        """Keep a result."""
        self._entries[key] = entry

    def relieve(self, needed: Needed) -> None:
        """Memory is not looked at."""

    def instance(self, node_id: str, cls: type) -> object:
        """The instance that belongs to a node id."""
        return self._instances.get(node_id, cls)

    def part(self) -> None:
        """Another owner's prompt begins: it gets instances of its own."""
        self._instances.clear()

    def clear(self) -> None:
        """Drop results and instances."""
        self._entries, self._inner, self._inner_now = {}, {}, {}
        self._instances.clear()


class LruCache:
    """Keeps up to `limit` results, those of older prompts too; the current prompt's are never dropped."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[Key, Entry] = {}  # oldest use first
        self._roots: dict[str, None] = {}
        self._instances = Instances()

    def begin(self, keys: Mapping[str, Key]) -> None:
        """Start a prompt: its results become the youngest, and the oldest beyond the limit go."""
        for key in keys.values():
            self.get(key)
        current = set(keys.values())
        for key in list(self._entries):
            if len(self._entries) <= self._limit or key in current:
                break
            del self._entries[key]
        self._instances.keep(keys, self._roots)
        self._roots = {root: None for root in self._roots if root in keys}

    def adopt(self, root: str, keys: Iterable[Key]) -> None:
        """Results of expansions are kept like all others."""
        self._roots[root] = None

    def get(self, key: Key) -> Entry | None:
        """The result under a key, now the youngest, or None."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._entries[key] = entry
        return entry

    def put(self, key: Key, entry: Entry) -> None:
        """Keep a result."""
        self._entries.pop(key, None)
        self._entries[key] = entry

    def relieve(self, needed: Needed) -> None:
        """Memory is not looked at."""

    def instance(self, node_id: str, cls: type) -> object:
        """The instance that belongs to a node id."""
        return self._instances.get(node_id, cls)

    def part(self) -> None:
        """Another owner's prompt begins: it gets instances of its own."""
        self._instances.clear()

    def clear(self) -> None:
        """Drop results and instances."""
        self._entries, self._roots = {}, {}
        self._instances.clear()


class NoCache:
    """Keeps nothing beyond the running prompt's own hold; instances live for one prompt."""

    def __init__(self) -> None:
        self._instances = Instances()

    def begin(self, keys: Mapping[str, Key]) -> None:
        """Start a prompt with fresh instances."""
        self._instances.clear()

    def adopt(self, root: str, keys: Iterable[Key]) -> None:
        """Nothing is kept."""

    def get(self, key: Key) -> Entry | None:
        """None: nothing is kept."""
        return None

    def put(self, key: Key, entry: Entry) -> None:
        """Nothing is kept."""

    def relieve(self, needed: Needed) -> None:
        """Memory is not looked at."""

    def instance(self, node_id: str, cls: type) -> object:
        """The instance that belongs to a node id in this prompt."""
        return self._instances.get(node_id, cls)

    def part(self) -> None:
        """Another owner's prompt begins: it gets instances of its own."""
        self._instances.clear()

    def clear(self) -> None:
        """Drop the instances."""
        self._instances.clear()
