"""Loops in a directed graph. Knows nothing of nodes but their ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

Edges = Callable[[str], Iterable[str]]


def components(roots: Iterable[str], edges: Edges) -> list[list[str]]:
    """The strongly connected parts of what `roots` reach, every part after the parts its edges lead to.

    `edges` is asked once per node. A part of several nodes is a loop. Linear, without recursion (Tarjan 1972).
    """
    order: dict[str, int] = {}  # when a node was first seen
    found: list[list[str]] = []
    for root in roots:
        if root not in order:
            _walk(root, edges, order, found)
    return found


def is_loop(part: list[str], edges: Edges) -> bool:
    """Tell whether a part that `components` found is a loop: several nodes, or one that leads to itself."""
    return len(part) > 1 or part[0] in edges(part[0])


def _walk(root: str, edges: Edges, order: dict[str, int], found: list[list[str]]) -> None:
    """Go through what one root reaches that was not seen yet."""
    order[root] = len(order)
    lowest = {root: order[root]}  # of the open nodes: the earliest open one that each leads back to
    stack = [root]  # the open nodes, oldest first
    path: list[tuple[str, Iterator[str]]] = [(root, iter(edges(root)))]
    while path:
        node, rest = path[-1]
        following = next(rest, None)
        if following is None:
            path.pop()
            low = lowest[node]
            if path and low < lowest[path[-1][0]]:
                lowest[path[-1][0]] = low
            if low == order[node]:
                at = len(stack) - 1
                while stack[at] != node:
                    at -= 1
                found.append(stack[at:])
                for closed in found[-1]:
                    del lowest[closed]
                del stack[at:]
        elif following not in order:
            order[following] = lowest[following] = len(order)
            stack.append(following)
            path.append((following, iter(edges(following))))
        elif following in lowest:
            lowest[node] = min(lowest[node], order[following])
