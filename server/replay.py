"""What somebody who comes back missed: the events that are kept, else what the history still tells."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from executor.queue.history import History
from executor.queue.job import HistoryEntry
from server.eventlog import TERMINAL, Event, EventLog, Wanted

MOST_ENDS = 1000
GAP = "gap"


@dataclass(frozen=True, slots=True)
class Replay:
    """What to tell before anything new, and the number after which the new begins."""

    gap: Event | None
    events: tuple[Event, ...]
    number: int

    def all(self) -> tuple[Event, ...]:
        """The gap, if there is one, then the events."""
        return self.events if self.gap is None else (self.gap, *self.events)


async def missed(log: EventLog, past: History, number: int, wanted: Wanted) -> Replay:
    """What came after the event of that number; 0 asks for all that is kept.

    Where events are gone, a `gap` says so, and the ends of jobs that fell into it come from the history.
    """
    ends: list[HistoryEntry] = []
    lost = number != 0 and log.has_lost(number)
    if lost:
        ends = await past.ended_since(number // 1000, MOST_ENDS, wanted.owner)
    kept = [event for event in log.after(0 if lost else number) if event in wanted]
    if not lost:
        return Replay(None, tuple(kept), log.newest)
    told = {(event.owner, event.job_id) for event in kept if event.name in TERMINAL}
    old = [event for event in _ends(ends) if (event.owner, event.job_id) not in told and event in wanted]
    data = json.dumps({"asked": number, "oldest": log.oldest}).encode()
    return Replay(Event(number=0, name=GAP, data_json=data), (*old, *kept), log.newest)


def _ends(entries: Iterable[HistoryEntry]) -> Iterable[Event]:
    """The last events of jobs that ended."""
    for entry in entries:
        messages = json.loads(entry.result.messages_json)
        if messages:
            name, data = messages[-1]
            yield Event(
                number=entry.ended_ms * 1000,
                name=name,
                data_json=json.dumps(data).encode(),
                audience="owner_or_all" if name == "execution_interrupted" else "owner",
                client_id=entry.job.client_id,
                job_id=entry.job.id,
                owner=entry.job.owner,
            )
