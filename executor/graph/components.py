"""Loops in a directed graph. Knows nothing of nodes but their ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

Edges = Callable[[str], Iterable[str]]


def components(roots: Iterable[str], edges: Edges) -> list[list[str]]:
    """The strongly connected parts of what `roots` reach, every part after the parts its edges lead to.

    `edges` is asked once per node. A part of several nodes is a loop. Linear, without recursion (Tarjan 1972).
    """
    walk = _Walk(edges)
    for root in roots:
        if root not in walk.order:
            walk.visit(root)
    return walk.found


def is_loop(part: list[str], edges: Edges) -> bool:
    """Tell whether a part that `components` found is a loop: several nodes, or one that leads to itself."""
    return len(part) > 1 or part[0] in edges(part[0])


@dataclass(slots=True)
class _Walk:
    edges: Edges
    order: dict[str, int] = field(default_factory=dict)  # when a node was first seen
    lowest: dict[str, int] = field(default_factory=dict)  # the earliest open node it leads back to
    open: list[str] = field(default_factory=list)
    is_open: set[str] = field(default_factory=set)
    found: list[list[str]] = field(default_factory=list)

    def visit(self, root: str) -> None:
        path: list[tuple[str, Iterator[str]]] = [self._enter(root)]
        while path:
            node, rest = path[-1]
            following = next(rest, None)
            if following is None:
                path.pop()
                self._leave(node)
                if path:
                    parent = path[-1][0]
                    self.lowest[parent] = min(self.lowest[parent], self.lowest[node])
            elif following not in self.order:
                path.append(self._enter(following))
            elif following in self.is_open:
                self.lowest[node] = min(self.lowest[node], self.order[following])

    def _enter(self, node: str) -> tuple[str, Iterator[str]]:
        self.order[node] = self.lowest[node] = len(self.order)
        self.open.append(node)
        self.is_open.add(node)
        return node, iter(self.edges(node))

    def _leave(self, node: str) -> None:
        if self.lowest[node] != self.order[node]:
            return
        part: list[str] = []
        while not part or part[-1] != node:
            part.append(self.open.pop())
            self.is_open.discard(part[-1])
        self.found.append(part[::-1])
