"""The newest events of all prompts, numbered, for those who come back and ask what they missed. Knows no sockets.

A number is the microsecond of Unix time at which the event was told, or the next free one: so numbers grow over
restarts too, and an event that is gone can be placed in time. The log is bounded; what ended is in the history for
longer.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

Audience = Literal["owner", "owner_or_all", "all"]

MOST_EVENTS = 10_000
MOST_BYTES = 16 << 20
SPARE = 1000  # events beyond either limit before the oldest are dropped together
TERMINAL = frozenset({"execution_success", "execution_error", "execution_interrupted"})


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it was told, and to whom; `owner` is whose prompt it is of where keys separate."""

    number: int
    name: str
    data_json: bytes
    audience: Audience = "all"
    client_id: str | None = None
    job_id: str | None = None
    owner: str = ""

    def is_for(self, owner: str | None) -> bool:
        """Tell whether somebody may hear it: its owner, or who sees everybody's (None), who counts all jobs anyway."""
        return not (self.owner and self.name == "status") if owner is None else owner == self.owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events somebody wants: those that a client hears, those of a job, or all; of one owner, or everybody's."""

    client_id: str | None = None
    job_id: str | None = None
    owner: str | None = None

    def __contains__(self, event: object) -> bool:
        if not isinstance(event, Event) or not event.is_for(self.owner):
            return False
        if self.job_id is not None and event.job_id != self.job_id:
            return False
        if self.client_id is None or event.audience == "all":
            return True
        if event.client_id is None:
            return event.audience == "owner_or_all"
        return event.client_id == self.client_id and event.owner == (self.owner or "")


class EventLog:
    """The events of one front since its start; use it from one event loop."""

    def __init__(
        self,
        *,
        most: int = MOST_EVENTS,
        most_bytes: int = MOST_BYTES,
        spare: int = SPARE,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._most, self._most_bytes, self._spare = most, most_bytes, spare
        self._clock_ns = clock_ns
        self._events: list[Event] = []
        self._numbers: list[int] = []
        self._bytes = 0
        self._gone = self.newest = self._clock_ns() // 1000  # the number of the newest event that is not here
        self._waiting: set[asyncio.Future[None]] = set()
        self.closed = False

    def add(
        self,
        name: str,
        data: object,
        *,
        audience: Audience,
        client_id: str | None = None,
        job_id: str | None = None,
        owner: str = "",
    ) -> Event:
        """Note an event; `data` is a value for json.dumps, or JSON text as bytes."""
        text = data if isinstance(data, bytes) else json.dumps(data).encode()
        now, number = self._clock_ns() // 1000, self.newest + 1
        self.newest = number = now if now > number else number
        event = Event(
            number=number,
            name=name,
            data_json=text,
            audience=audience,
            client_id=client_id,
            job_id=job_id,
            owner=owner,
        )
        self._events.append(event)
        self._numbers.append(number)
        self._bytes += len(text)
        if len(self._events) > self._most + self._spare or self._bytes > self._most_bytes:
            self._drop_oldest()
        if self._waiting:
            self._wake()
        return event

    def after(self, number: int) -> list[Event]:
        """The events that are kept and came after that number, oldest first."""
        return self._events[bisect.bisect_right(self._numbers, number) :]

    def has_lost(self, number: int) -> bool:
        """Tell whether events after that number are gone, or may be: it is of an earlier start, or of no event."""
        return number < self._gone or number > self.newest

    @property
    def oldest(self) -> int | None:
        """The number of the oldest event that is kept."""
        return self._numbers[0] if self._numbers else None

    async def news(self, number: int, timeout_s: float) -> None:
        """Wait until there is something after that number, the log closes, or time is over."""
        if self.newest > number or self.closed:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=timeout_s)
        finally:
            self._waiting.discard(waiter)

    def close(self) -> None:
        """Nothing comes any more: those who wait go."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _drop_oldest(self) -> None:
        count = max(0, len(self._events) - self._most)
        room = self._bytes - sum(len(event.data_json) for event in self._events[:count])
        while room > self._most_bytes * 3 // 4 and count < len(self._events) - 1:
            room -= len(self._events[count].data_json)
            count += 1
        self._gone = self._numbers[count - 1] if count else self._gone
        self._bytes = room
        del self._events[:count], self._numbers[:count]
