"""The results a running prompt still needs, let go when nothing more can ask for them. Knows no cache policy."""

from __future__ import annotations

from collections.abc import Iterable

from executor.graph.cache import Entry
from executor.graph.dynamic import DynamicPrompt


class Results:
    """Results of nodes that have run, each held while a node that links it may still run.

    `want` declares the nodes that may run (lazy links count too); when a node is `done`, or can no longer be asked for,
    its hold on its sources ends.
    """

    def __init__(self, graph: DynamicPrompt) -> None:
        self._graph = graph
        self._held: dict[str, Entry] = {}
        self._users: dict[str, int] = {}  # how many nodes that may still run link a node
        self._alive: set[str] = set()

    def want(self, node_ids: Iterable[str]) -> None:
        """Declare nodes that are to run, and all that they may ask for."""
        for node_id in node_ids:
            self._users[node_id] = self._users.get(node_id, 0) + 1
            self.revive(node_id)

    def revive(self, node_id: str) -> None:
        """Declare that a node is to run (again), as one that was declared or is linked by one that was."""
        todo = [node_id]
        while todo:
            node_id = todo.pop()
            if node_id in self._alive:
                continue
            self._alive.add(node_id)
            for source in self._sources(node_id):
                self._users[source] = self._users.get(source, 0) + 1
                if source not in self._held:
                    todo.append(source)

    def get(self, node_id: str) -> Entry | None:
        """The result of a node, None if it has none or it was let go."""
        return self._held.get(node_id)

    def needed(self) -> set[str]:
        """The nodes that may still run, and those whose results they may ask for."""
        return self._alive.union(self._held)

    def hold(self, node_id: str, entry: Entry) -> None:
        """Take a result in, if any node may still ask for it."""
        if self._users.get(node_id):
            self._held[node_id] = entry

    def done(self, node_id: str) -> None:
        """Tell that a node has its result: its hold on its sources ends."""
        todo = [node_id]
        while todo:
            gone = todo.pop()
            if gone not in self._alive:
                continue
            self._alive.discard(gone)
            todo += [source for source in self._sources(gone) if self._unused(source)]

    def release(self, node_id: str) -> None:
        """End the hold that `want` gave a node itself."""
        if self._unused(node_id):
            self.done(node_id)

    def _unused(self, node_id: str) -> bool:
        self._users[node_id] = self._users.get(node_id, 0) - 1
        if self._users[node_id] > 0:
            return False
        self._held.pop(node_id, None)
        return True

    def _sources(self, node_id: str) -> set[str]:
        return {link.node for _, link in self._graph.links(node_id)}
