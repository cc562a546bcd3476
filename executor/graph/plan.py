"""Which node runs next: what waits for what, and who goes first among the ready. Runs nothing, keeps no results.

Order of the ready ones (reference/execution.md section 4): output and async nodes, then nodes that feed an output node,
then those two steps away, then the rest; first come first within each.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from executor.errors import NodeInputError
from executor.graph.components import components, is_loop
from executor.graph.dynamic import DynamicPrompt
from executor.graph.prompt import is_link


class Knowledge(Protocol):
    """What a plan asks about nodes."""

    def available(self, node_id: str) -> bool:
        """Tell whether a node's result is there already."""
        ...

    def is_eager(self, node_id: str) -> bool:
        """Tell whether a node goes first when ready: an output node or an async one."""
        ...

    def is_output(self, node_id: str) -> bool:
        """Tell whether a node is an output node."""
        ...

    def is_lazy(self, node_id: str, name: str) -> bool:
        """Tell whether an input is computed only when asked for."""
        ...

    def added(self, node_id: str) -> None:
        """Hear that a node is going to run."""
        ...


@dataclass(slots=True)
class _Pending:
    index: int  # place in the order of arrival
    waits_for: dict[str, None] = field(default_factory=dict)  # an ordered set
    holds: int = 0  # reasons from outside, such as async work


class Plan:
    """The nodes still to run, each with what it waits for. Every operation is linear in the links it touches."""

    def __init__(self, graph: DynamicPrompt, knowledge: Knowledge) -> None:
        self._graph = graph
        self._knowledge = knowledge
        self._pending: dict[str, _Pending] = {}
        self._blocks: dict[str, dict[str, None]] = {}  # node -> those that wait for it
        self._feeds_output: set[str] = set()
        self._near_output: set[str] = set()
        self._ready: list[tuple[int, int, str]] = []  # heap of rank, place, node; may hold outdated lines
        self._held: dict[str, None] = {}
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._pending)

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._pending

    def has_others(self, node_id: str) -> bool:
        """Tell whether nodes beside this listed one are still to run."""
        return len(self._pending) > 1

    def add(self, node_id: str) -> None:
        """Put a node on the list, with all it needs that is not there yet; lazy inputs are left for `need`."""
        todo = [node_id]
        while todo:
            current = todo.pop()
            if current in self._pending:
                continue
            self._pending[current] = _Pending(self._count)
            self._count += 1
            self._knowledge.added(current)
            if not self._knowledge.available(current):
                for source in self._needed_at_once(current):
                    self._block(source, current)
                    todo.append(source)
            self._offer(current)

    def need(self, node_id: str, names: Iterable[str]) -> None:
        """Let a listed node wait for inputs it asked for; NodeInputError for one that is absent or no link."""
        inputs = self._graph.inputs(node_id)
        sources = dict(self._graph.links(node_id))
        for name in names:
            if not is_link(inputs.get(name)):
                what = "is not linked" if name in inputs else "does not exist"
                raise NodeInputError(f"node {node_id!r} asked for its input {name!r}, which {what}")
            if name in sources:
                self.wait(node_id, sources[name].node)

    def wait(self, node_id: str, source: str) -> None:
        """Let a listed node wait for another, which is put on the list; nothing happens if its result is there."""
        if not self._knowledge.available(source):
            self._block(source, node_id)
            self.add(source)

    def pick(self) -> str | None:
        """The next node to run, None if none is ready; it stays on the list until `complete`."""
        while self._ready:
            rank, _, node_id = heapq.heappop(self._ready)
            if self._is_ready(node_id) and rank == self._rank(node_id):
                return node_id
        return None

    def again(self, node_id: str) -> None:
        """Let a picked node be picked again, once nothing blocks it."""
        self._offer(node_id)

    def complete(self, node_id: str) -> None:
        """Take a node off the list: what waited for it may become ready."""
        del self._pending[node_id]
        for consumer in self._blocks.pop(node_id, ()):
            self._pending[consumer].waits_for.pop(node_id, None)
            self._offer(consumer)

    def hold(self, node_id: str) -> None:
        """Keep a listed node from being picked until `unhold`: work for it goes on elsewhere."""
        self._pending[node_id].holds += 1
        self._held[node_id] = None

    def unhold(self, node_id: str) -> None:
        """End one `hold`."""
        pending = self._pending[node_id]
        pending.holds -= 1
        if not pending.holds:
            del self._held[node_id]
            self._offer(node_id)

    def held(self) -> list[str]:
        """The nodes that work goes on for elsewhere, in order."""
        return list(self._held)

    def pending(self) -> list[str]:
        """The nodes that are still to run, in order of arrival."""
        return list(self._pending)

    def loop(self) -> list[str]:
        """The nodes of a loop among those that wait, or all that wait if there is none."""
        for part in components(self._pending, self._waits_for):
            if is_loop(part, self._waits_for):
                return part
        return list(self._pending)

    # ---------------------------------------------------------------- inside

    def _waits_for(self, node_id: str) -> dict[str, None]:
        return self._pending[node_id].waits_for

    def _needed_at_once(self, node_id: str) -> list[str]:
        return [
            link.node
            for name, link in self._graph.links(node_id)
            if not self._knowledge.is_lazy(node_id, name) and not self._knowledge.available(link.node)
        ]

    def _block(self, source: str, consumer: str) -> None:
        self._pending[consumer].waits_for[source] = None
        self._blocks.setdefault(source, {})[consumer] = None
        if consumer in self._feeds_output and source not in self._near_output:
            self._near_output.add(source)
            self._offer(source)
        if self._knowledge.is_output(consumer) and source not in self._feeds_output:
            self._feeds_output.add(source)
            self._offer(source)
            waiting = self._pending.get(source)
            for upstream in waiting.waits_for if waiting else ():
                self._near_output.add(upstream)
                self._offer(upstream)

    def _is_ready(self, node_id: str) -> bool:
        pending = self._pending.get(node_id)
        return pending is not None and not pending.waits_for and not pending.holds

    def _rank(self, node_id: str) -> int:
        if self._knowledge.is_eager(node_id):
            return 0
        if node_id in self._feeds_output:
            return 1
        return 2 if node_id in self._near_output else 3

    def _offer(self, node_id: str) -> None:
        if self._is_ready(node_id):
            heapq.heappush(self._ready, (self._rank(node_id), self._pending[node_id].index, node_id))
