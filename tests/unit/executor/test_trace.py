"""Spans on rows, and the form of the file that Perfetto's UI opens."""

from __future__ import annotations

import json
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.trace import Row, Trace

A, B, C = (Row(group=group, name=name) for group, name in (("one", "a"), ("one", "b"), ("two", "c")))
INTERVALS = st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50)), max_size=12)


@pytest.fixture
def trace() -> Trace:
    """A trace whose clock goes on by one at each look."""
    ticks = iter(range(10**6))
    return Trace(("one", "two"), clock=lambda: next(ticks) * 1000)


def spans(trace: Trace, row: Row) -> list[tuple[float, float]]:
    """Begin and end of the spans of a row, in microseconds."""
    events = [event for event in trace.events() if event["ph"] == "X" and event["args"]["row"] == row.name]
    return [(event["ts"], event["ts"] + event["dur"]) for event in events]


def test_a_block_is_a_span(trace):
    with trace.span(A, "work", size=3):
        pass
    (event,) = [event for event in trace.events() if event["ph"] == "X"]
    assert (event["name"], event["ts"], event["dur"], event["args"]) == ("work", 0, 1, {"row": "a", "size": 3})


def test_a_block_within_one_of_its_row_is_part_of_it(trace):
    with trace.span(A, "outer"), trace.span(B, "other"), trace.span(A, "inner"):
        pass
    assert len(spans(trace, A)) == len(spans(trace, B)) == 1


def test_a_block_that_fails_is_a_span_too(trace):
    for _ in range(2):
        with pytest.raises(ValueError, match="odd"), trace.span(A, "work"):
            raise ValueError("odd")
    assert len(spans(trace, A)) == 2


def test_blocks_of_two_threads_are_both_told(trace):
    with trace.span(A, "here"):
        other = threading.Thread(target=_within, args=(trace,))
        other.start()
        other.join()
    assert len(spans(trace, A)) == 2


def _within(trace: Trace) -> None:
    with trace.span(A, "there"):
        pass


@given(INTERVALS, INTERVALS)
def test_gaps_are_what_is_left_of_a_row(outer, inner):
    trace = Trace(("one", "two"))
    trace.add(Row(group="one", name="zero"), "", 0, 0)  # times are told since the first span
    covered, taken = set(), set()
    position = 0
    for gap, length in outer:  # spans of a row that gaps are taken of do not overlap
        begin = position + gap
        position = begin + length
        trace.add(A, "outer", begin, position)
        covered |= set(range(begin, position))
    for begin, length in inner:
        trace.add(B, "inner", begin, begin + length)
        taken |= set(range(begin, begin + length))
    trace.add_gaps(C, "gap", A, [B])
    found = [round(moment * 1000) for begin, end in spans(trace, C) for moment in (begin, end)]
    left = [tick for begin, end in zip(found[::2], found[1::2], strict=True) for tick in range(begin, end)]
    assert sorted(left) == sorted(covered - taken)


@given(INTERVALS)
def test_no_two_spans_of_one_track_overlap(intervals):
    trace = Trace(("one", "two"))
    for begin, length in intervals:
        trace.add(A, "span", begin, begin + length)
    tracks: dict[object, list[tuple[float, float]]] = {}
    for event in trace.events():
        if event["ph"] == "X":
            tracks.setdefault(event["tid"], []).append((event["ts"], event["ts"] + event["dur"]))
    assert sum(map(len, tracks.values())) == len(intervals)
    for track in tracks.values():
        assert all(one[1] <= other[0] + 1e-9 for one, other in pairwise(sorted(track)))


def test_rows_stand_in_the_order_asked_for_and_are_named(trace):
    for row in (C, B, A):
        with trace.span(row, "x"):
            pass
    names = [event["args"]["name"] for event in trace.events([A]) if event["name"] == "thread_name"]
    assert names == ["a", "c", "b"]
    groups = {event["args"]["name"] for event in trace.events() if event["name"] == "process_name"}
    assert groups == {"one", "two"}


def test_the_file_is_json_in_the_known_form(trace, tmp_path: Path):
    trace.add(A, "x", 5000, 6000)
    trace.write(
        tmp_path / "t.json", (), [{"ph": "X", "name": "theirs", "ts": 9.0, "dur": 1, "pid": 3, "tid": 4}], of="p"
    )
    told = json.loads((tmp_path / "t.json").read_text())
    assert (told["displayTimeUnit"], told["otherData"]) == ("ms", {"of": "p", "begun_ns": 5000})
    assert {event["name"]: event["ts"] for event in told["traceEvents"] if event["ph"] == "X"} == {"x": 0, "theirs": 4}


def test_times_are_of_unix_time_and_never_run_backwards():
    trace = Trace(())
    times = [trace.now() for _ in range(100)]
    assert times == sorted(times)
    assert times[0] > 1.7e18
