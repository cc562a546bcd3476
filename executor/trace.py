"""What ran when, as spans on named rows, in the JSON form that Perfetto's UI opens. Knows no nodes and no torch.

The form is Google's "Trace Event Format" (2016): complete events ("X") and names of rows ("M"), times in microseconds
since the first span: since 1970 they would be too long for a float.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import cast

from executor.wholefile import write_whole

Event = dict[str, object]

FIRST_GROUP = 1_000_000_000
"""Groups stand where processes do; torch's events bring numbers of processes and of GPUs of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the picture: in which group it stands, by which name."""

    group: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that took from one time to another (ns of one clock)."""

    row: Row
    name: str
    begin_ns: int
    end_ns: int
    told: Mapping[str, object] = field(default_factory=dict)


class Trace:
    """The spans of one run; safe to use from several threads. `clock` tells ns of Unix time, finely."""

    def __init__(self, groups: Sequence[str], clock: Callable[[], int] | None = None) -> None:
        self._groups = {name: number for number, name in enumerate(groups, FIRST_GROUP)}
        self._ahead_ns = time.time_ns() - time.perf_counter_ns()
        self.clock = clock or self.now
        self._spans: list[Span] = []
        self._open = threading.local()

    def now(self) -> int:
        """This moment, in ns of Unix time that never run backwards."""
        return time.perf_counter_ns() + self._ahead_ns

    def add(self, row: Row, name: str, begin_ns: int, end_ns: int, **told: object) -> None:
        """Add what took from one time to another."""
        self._spans.append(Span(row=row, name=name, begin_ns=begin_ns, end_ns=end_ns, told=told))

    @contextmanager
    def span(self, row: Row, name: str, **told: object) -> Iterator[None]:
        """Add what the block takes, unless it is within such a block of the row on this thread already."""
        rows: set[Row] = self._open.__dict__.setdefault("rows", set())
        if row in rows:
            yield
            return
        rows.add(row)
        begin_ns = self.clock()
        try:
            yield
        finally:
            rows.discard(row)
            self.add(row, name, begin_ns, self.clock(), **told)

    def add_gaps(self, row: Row, name: str, outer: Row, inner: Iterable[Row]) -> None:
        """Fill a row with what is left of the spans of one row where those of others are taken away."""
        taken = sorted(self._of(inner), key=attrgetter("begin_ns"))
        for span in self._of([outer]):
            begin_ns = span.begin_ns
            for other in taken:
                if other.end_ns <= begin_ns or other.begin_ns >= span.end_ns:
                    continue
                if other.begin_ns > begin_ns:
                    self.add(row, name, begin_ns, other.begin_ns)
                begin_ns = other.end_ns
            if begin_ns < span.end_ns:
                self.add(row, name, begin_ns, span.end_ns)

    def drop(self, rows: Iterable[Row]) -> None:
        """Take rows out."""
        gone = set(rows)
        self._spans = [span for span in self._spans if span.row not in gone]

    def _base_ns(self) -> int:
        return min((span.begin_ns for span in self._spans), default=0)

    def _of(self, rows: Iterable[Row]) -> list[Span]:
        wanted = set(rows)
        return [span for span in self._spans if span.row in wanted]

    # ---------------------------------------------------------------- as JSON

    def events(self, order: Sequence[Row] = ()) -> list[Event]:
        """All spans as events: rows in an order, the others by their first span; what overlaps lies on rows beside."""
        rows: dict[Row, list[Span]] = {row: [] for row in order}
        for span in sorted(self._spans, key=attrgetter("begin_ns", "end_ns")):
            rows.setdefault(span.row, []).append(span)
        found: list[Event] = [
            _name("process_name", number, 0, {"name": name}) for name, number in self._groups.items()
        ] + [_name("process_sort_index", number, 0, {"sort_index": number}) for number in self._groups.values()]
        track, base_ns = 0, self._base_ns()
        for row, spans in rows.items():
            group = self._groups[row.group]
            for lane, beside in enumerate(_lanes(spans), 1):
                track += 1
                name = row.name if lane == 1 else f"{row.name} ({lane})"
                found.append(_name("thread_name", group, track, {"name": name}))
                found.append(_name("thread_sort_index", group, track, {"sort_index": track}))
                found += [_complete(span, group, track, base_ns) for span in beside]
        return found

    def write(self, path: Path, order: Sequence[Row] = (), more: Iterable[Event] = (), **told: object) -> None:
        """Write the trace, with events of others (times in microseconds of Unix time); OSError where that fails."""
        base_ns = self._base_ns()
        others = [{**event, "ts": float(cast(float, event["ts"])) - base_ns / 1000} for event in more]
        told |= {"begun_ns": base_ns}
        whole = {"traceEvents": [*self.events(order), *others], "displayTimeUnit": "ms", "otherData": told}
        text = json.dumps(whole).encode()
        write_whole(path, lambda file: file.write(text))


def _lanes(spans: Iterable[Span]) -> list[list[Span]]:
    """Spans in the order of their begin on as few lanes as it takes for none to overlap."""
    lanes: list[list[Span]] = []
    for span in spans:
        free = next((lane for lane in lanes if lane[-1].end_ns <= span.begin_ns), None)
        if free is None:
            lanes.append([span])
        else:
            free.append(span)
    return lanes


def _complete(span: Span, group: int, track: int, base_ns: int) -> Event:
    return {
        "name": span.name,
        "cat": span.row.group,
        "ph": "X",
        "ts": (span.begin_ns - base_ns) / 1000,
        "dur": max(0, span.end_ns - span.begin_ns) / 1000,
        "pid": group,
        "tid": track,
        "args": {"row": span.row.name, **span.told},
    }


def _name(kind: str, group: int, track: int, told: Mapping[str, object]) -> Event:
    return {"name": kind, "ph": "M", "ts": 0, "pid": group, "tid": track, "args": dict(told)}
