"""What a writer left unsent is found by who shares its memory, and nothing twice."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.outbox import SIZE, Outbox, shared_memory

Pair = tuple[Outbox, Outbox]


def pair() -> Pair:
    """A writer's and a reader's end."""
    memory = shared_memory()
    if memory is None:
        pytest.skip("this system has no memory files")
    ends = Outbox.on(memory), Outbox.on(memory)
    os.close(memory)
    return ends


@pytest.fixture
def ends() -> Iterator[Pair]:
    made = pair()
    yield made
    for end in made:
        end.close()


def test_what_was_not_sent_is_left(ends: Pair):
    writer, reader = ends
    assert writer.put(b"ab")
    assert writer.put(b"c")
    assert (bool(writer), writer.waiting(), reader.left(0)) == (True, b"abc", b"abc")


def test_what_was_sent_is_not(ends: Pair):
    writer, reader = ends
    writer.put(b"abc")
    writer.sent(len(b"abc and more"))
    assert (bool(writer), reader.left(len(b"abc and more"))) == (False, b"")


def test_what_arrived_before_the_writer_could_note_it_is_left_out(ends: Pair):
    writer, reader = ends
    writer.put(b"abc")
    assert reader.left(3) == b""
    assert reader.left(2) == b"c"


def test_nothing_is_left_behind_a_gap(ends: Pair):
    writer, reader = ends
    writer.sent(10)
    writer.put(b"abc")
    assert reader.left(9) == b""


def test_what_does_not_fit_is_refused_and_leaves_no_trace(ends: Pair):
    writer, reader = ends
    writer.put(b"a")
    assert not writer.put(bytes(SIZE))
    assert reader.left(0) == b"a"


@given(st.lists(st.tuples(st.binary(max_size=20), st.sampled_from(["put", "send", "direct"])), max_size=30))
def test_a_reader_has_every_byte_once_wherever_the_writer_dies(steps: list[tuple[bytes, str]]):
    writer, reader = pair()
    stream, received = b"", b""
    for data, step in steps:
        stream += data
        if step == "put":
            writer.put(data)
            assert received + reader.left(len(received)) == stream
            continue
        out = writer.waiting() + data if step == "send" or writer else data
        received += out
        assert received + reader.left(len(received)) == stream  # dead between sending and noting it
        writer.sent(len(out))
        assert received + reader.left(len(received)) == stream
    for end in (writer, reader):
        end.close()
