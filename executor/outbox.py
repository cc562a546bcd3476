"""Bytes of a stream that wait to be sent together, in memory that outlives the process that wrote them.

A worker collects small messages here in place of sending each: a call of the system and a waking of the front for each
would cost more than most nodes. If the worker dies before they are sent, the front finds them here: it holds the same
memory. Two counters come before the bytes: the place in the stream where they begin, and how many they are. Each is
written in one piece, in an order in which the death of the writer at any moment shows no byte twice.
"""

from __future__ import annotations

import mmap
import os

SIZE = 64 << 10
_HEADER = 16
_BEGIN, _LENGTH = 0, 1  # the counters


class Outbox:
    """One end of the memory; the writer's calls belong under one lock."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._counters = memoryview(memory)[:_HEADER].cast("Q")
        self._length = self._begin = 0  # as the writer knows them

    @classmethod
    def on(cls, descriptor: int) -> Outbox:
        """The memory behind a file descriptor, which may be closed afterwards."""
        return cls(mmap.mmap(descriptor, SIZE))

    # ---------------------------------------------------------------- the writer

    def __bool__(self) -> bool:
        return self._length > 0

    def put(self, data: bytes) -> bool:
        """Let bytes wait; False if there is no room for them."""
        start = _HEADER + self._length
        if start + len(data) > SIZE:
            return False
        self._memory[start : start + len(data)] = data
        self._length += len(data)
        self._counters[_LENGTH] = self._length
        return True

    def waiting(self) -> bytes:
        """What waits."""
        return self._memory[_HEADER : _HEADER + self._length]

    def sent(self, size: int) -> None:
        """So many bytes went out: those that waited, and what came right after them."""
        self._begin += size
        self._length = 0
        self._counters[_LENGTH] = 0
        self._counters[_BEGIN] = self._begin

    # ---------------------------------------------------------------- the reader

    def left(self, received: int) -> bytes:
        """What the writer left unsent, to a reader that received so many bytes; b"" where bytes before it are lost."""
        begin, length = self._counters[_BEGIN], self._counters[_LENGTH]
        known = received - begin
        if not 0 <= known < length <= SIZE - _HEADER:
            return b""
        return self._memory[_HEADER + known : _HEADER + length]

    def close(self) -> None:
        """Let go of the memory."""
        self._counters.release()
        self._memory.close()


def shared_memory() -> int | None:
    """A file descriptor of memory for an outbox, which a child process can be given; None where there is none."""
    if not hasattr(os, "memfd_create"):
        return None
    descriptor = os.memfd_create("weft-outbox")
    os.ftruncate(descriptor, SIZE)
    return descriptor
