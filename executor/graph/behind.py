"""Work of nodes that goes on beside the nodes after them: files that are encoded and written on threads.

A node hands such work over (`RunContext.finish_later`) when nothing that it returns depends on it. The node is told as
executed, by the thread, when its work is over, so at the moment at which its files are there. Knows no files.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from executor.context import current, entered
from executor.graph.call import NodeFailed

MOST_BYTES = 1 << 28
"""What open work of a prompt may hold; a node with more does its work itself."""
LEAST_BYTES = 1 << 18
"""Less is done before a thread has begun."""
WORTH_BYTES = 1 << 20
"""Less is done before the next prompt has come: measured with pictures of 300², 512² and 1024²."""

Work = Callable[[], None]


@dataclass(slots=True)
class Share:
    """What one node handed over while it ran."""

    room: int
    least: int = LEAST_BYTES
    nbytes: int = 0
    works: list[Work] = field(default_factory=list)

    def take(self, make: Callable[[], Work], nbytes: int) -> bool:
        """Take in the work that is made, if it may hold so many bytes; False: the node has to do it itself."""
        if not self.least <= nbytes <= self.room - self.nbytes:
            return False
        self.nbytes += nbytes
        self.works.append(make())
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Open:
    """Work that goes on: whose, under which key, what it holds, and what is done on the prompt's thread after it."""

    node_id: str
    key: Hashable
    nbytes: int
    done: Future[None]
    after: Callable[[], None]


class Earlier(Protocol):
    """What the prompt before has left open; false where that is nothing."""

    def __bool__(self) -> bool: ...

    def has(self, key: Hashable) -> bool:
        """Tell whether work goes on under a key."""
        ...

    def settle(self) -> None:
        """Wait until all is over; NodeFailed is not raised, for that prompt tells it."""
        ...


class Behind:
    """The open work of one prompt; without threads nodes do all of theirs themselves. Use it from one thread."""

    def __init__(self, threads: Executor | None) -> None:
        self._threads = threads
        self._open: list[Open] = []
        self._told = threading.Lock()  # nodes are told as executed one at a time

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def nbytes(self) -> int:
        """What open work holds."""
        return sum(work.nbytes for work in self._open)

    def share(self, least: int = LEAST_BYTES) -> Share | None:
        """Where a node may hand its work over, so many bytes at least."""
        return None if self._threads is None else Share(room=MOST_BYTES - self.nbytes, least=least)

    def begin(self, node_id: str, key: Hashable, share: Share, told: Work, after: Work) -> None:
        """Let a node's work go on: `told` is called on its thread at the end, `after` by `reap` if nothing failed."""
        assert self._threads is not None, "there was no share without threads"

        def work() -> None:
            with entered(replace(current(), node_id=node_id)):
                for part in share.works:
                    part()
            with self._told:
                told()

        context = contextvars.copy_context()
        done = self._threads.submit(context.run, work)
        self._open.append(Open(node_id, key, share.nbytes, done, after))

    def has(self, key: Hashable) -> bool:
        """Tell whether work goes on under a key."""
        return any(work.key == key for work in self._open)

    def reap(self) -> None:
        """Take note of work that is over; NodeFailed for the first that did not succeed."""
        over = [work for work in self._open if work.done.done()]
        self._open = [work for work in self._open if work not in over]
        failures: list[NodeFailed] = []
        for work in over:
            failure = work.done.exception()
            if failure is None:
                work.after()
            else:
                failures.append(NodeFailed(work.node_id, failure))
        if failures:
            raise failures[0]

    def settle(self) -> None:
        """Wait until all work is over; NodeFailed as from `reap`."""
        if self._open:
            wait([work.done for work in self._open])
            self.reap()

    def left(self) -> tuple[Open, ...]:
        """The work that goes on."""
        return tuple(self._open)


def outcome(left: Iterable[Open]) -> NodeFailed | None:
    """Wait until all of this work is over, on any thread; the first failure, if there was one."""
    failures = [(work.node_id, work.done.exception()) for work in left]
    return next((NodeFailed(node_id, failure) for node_id, failure in failures if failure is not None), None)
