"""Keeps every result until memory runs short, then drops the least valuable ones. Measures nothing by itself.

The value of a result: what it took to make, over the memory it holds, less with every prompt that did not use it
(`--cache-ram`; reference/execution.md section 7).
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from executor.graph.cache import Cache, ClassicCache, Entry, Instances, LruCache, Needed, NoCache
from executor.graph.signature import Key

log = logging.getLogger("weft.graph")

AGEING = 1.3
"""How much more a result is in the way with each prompt that does not use it."""
LEAST_BYTES = 1 << 16
"""What the smallest result counts: its own objects."""
LEAST_S = 0.001
"""What the cheapest result counts: the engine's work around a node."""
RELIEF = 1.1
"""Memory is freed until there is this much more than has to stay free."""
COLLECT_EVERY_S = 5.0
"""Least seconds between collections of garbage that is in loops."""
LOOK_EVERY_S = 0.1
LOOK_EVERY_BYTES = 64 << 20
"""Free memory is looked at after so much time, or so many bytes of new results."""


class Gauge(Protocol):
    """What a worker can tell of memory."""

    def free_bytes(self) -> int:
        """Main memory that is free."""
        ...

    def pieces(self, values: Iterable[object]) -> Mapping[int, int]:
        """The pieces of main memory that values lie in: bytes by a number that names the piece while it lives."""
        ...


@dataclass(slots=True)
class _Kept:
    entry: Entry
    pieces: Mapping[int, int]
    used: int  # the prompt that used it last


@dataclass(slots=True)
class PressureCache:
    """Keeps results of all prompts while at least `headroom_bytes` of memory are free."""

    headroom_bytes: int
    gauge: Gauge
    clock: Callable[[], float] = time.monotonic
    collect: Callable[[], object] = gc.collect
    _entries: dict[Key, _Kept] = field(default_factory=dict)
    _owners: dict[int, int] = field(default_factory=dict)  # how many entries lie in a piece
    _roots: dict[str, None] = field(default_factory=dict)
    _instances: Instances = field(default_factory=Instances)
    _prompt: int = 0
    _looked_s: float = float("-inf")
    _collected_s: float = float("-inf")
    _new_bytes: int = 0

    def begin(self, keys: Mapping[str, Key]) -> None:
        """Start a prompt: what its nodes have results for is used anew."""
        self._prompt += 1
        for key in keys.values():
            self.get(key)
        self._instances.keep(keys, self._roots)
        self._roots = {root: None for root in self._roots if root in keys}

    def adopt(self, root: str, keys: Iterable[Key]) -> None:
        """Results of expansions are kept like all others."""
        self._roots[root] = None

    def get(self, key: Key) -> Entry | None:
        """The result under a key, or None."""
        kept = self._entries.get(key)
        if kept is None:
            return None
        kept.used = self._prompt
        return kept.entry

    def put(self, key: Key, entry: Entry) -> None:
        """Keep a result."""
        self._drop(key)
        pieces = self.gauge.pieces(entry.outputs)
        for piece in pieces:
            self._owners[piece] = self._owners.get(piece, 0) + 1
        self._entries[key] = _Kept(entry, pieces, self._prompt)
        self._new_bytes += sum(pieces.values())

    def relieve(self, needed: Needed) -> None:
        """Drop results while memory is short, the least valuable first; `needed` names those that must stay."""
        now_s = self.clock()
        if now_s - self._looked_s < LOOK_EVERY_S and self._new_bytes < LOOK_EVERY_BYTES:
            return
        self._looked_s, self._new_bytes = now_s, 0
        if self.gauge.free_bytes() >= self.headroom_bytes or not self._entries:
            return
        if now_s - self._collected_s >= COLLECT_EVERY_S:
            self._collected_s = now_s
            self.collect()
        free = self.gauge.free_bytes()
        if free < self.headroom_bytes:
            self._free(int(RELIEF * self.headroom_bytes) - free, needed())

    def instance(self, node_id: str, cls: type) -> object:
        """The instance that belongs to a node id."""
        return self._instances.get(node_id, cls)

    def part(self) -> None:
        """Another owner's prompt begins: it gets instances of its own."""
        self._instances.clear()

    def clear(self) -> None:
        """Drop results and instances."""
        self._entries, self._owners, self._roots = {}, {}, {}
        self._instances.clear()

    # ---------------------------------------------------------------- what goes

    def _free(self, wanted: int, needed: Iterable[Key]) -> None:
        """Drop results until so many bytes are freed; ranked once, for a drop changes other results' share little."""
        stay = set(needed)
        order = sorted((key for key in self._entries if key not in stay), key=self._burden, reverse=True)
        freed = dropped = 0
        for key in order:
            if freed >= wanted:
                break
            freed += self._drop(key)
            dropped += 1
        log.info("memory is short: %d results dropped, about %d MiB", dropped, freed >> 20)

    def _burden(self, key: Key) -> float:
        kept = self._entries[key]
        held = LEAST_BYTES + sum(size / self._owners[piece] for piece, size in kept.pieces.items())
        return float(AGEING ** min(self._prompt - kept.used, 1000) * held / (LEAST_S + kept.entry.seconds))

    def _drop(self, key: Key) -> int:
        """Take a result out; the bytes that no other result lies in."""
        kept = self._entries.pop(key, None)
        if kept is None:
            return 0
        freed = 0
        for piece, size in kept.pieces.items():
            self._owners[piece] -= 1
            if not self._owners[piece]:
                del self._owners[piece]
                freed += size
        return freed


def make_cache(mode: str, size: int = 0, *, headroom_gb: float = 0.0, gauge: Gauge | None = None) -> Cache:
    """The cache for `--cache-classic`, `--cache-lru N` (0 means classic), `--cache-none` or `--cache-ram GB`.

    The last one needs a gauge of memory; ValueError without it, and for a mode that is none of these.
    """
    match mode:
        case "none":
            return NoCache()
        case "lru" if size > 0:
            return LruCache(size)
        case "classic" | "lru":
            return ClassicCache()
        case "ram" if gauge is not None:
            return PressureCache(int(headroom_gb * 2**30), gauge)
        case _:
            raise ValueError(f"there is no cache mode {mode!r}; there are classic, lru, none, and ram with a gauge")
