"""One worker's connection: bytes in, frames out, and its end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace

import msgspec
import pytest

from executor.engine.wire import Wire

PATIENCE_S = 60.0


@pytest.fixture
async def ends() -> AsyncIterator[SimpleNamespace]:
    """A wire, the bodies that it handed on, and the other end of its socket."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE_S)
    taken: list[bytes] = []
    loop = asyncio.get_running_loop()
    transport, wire = await loop.create_connection(lambda: Wire(lambda wire, body: taken.append(body)), sock=ours)
    async with asyncio.timeout(PATIENCE_S):
        yield SimpleNamespace(wire=wire, taken=taken, other=theirs)
    transport.abort()
    theirs.close()


async def until(is_so) -> None:
    while not is_so():
        await asyncio.sleep(0.001)


async def test_frames_are_handed_on_in_their_order_however_they_come(ends: SimpleNamespace):
    stream = b"\0\0\0\3one\0\0\0\0\0\0\0\5three"
    for byte in stream[:6]:
        ends.other.send(bytes([byte]))
        await asyncio.sleep(0)
    ends.other.send(stream[6:])
    await until(lambda: len(ends.taken) == 3)
    assert (ends.taken, ends.wire.received) == ([b"one", b"", b"three"], len(stream))


async def test_what_takes_frames_may_change_between_two_of_one_piece(ends: SimpleNamespace):
    first: list[bytes] = []

    def greeted(wire: Wire, body: bytes) -> None:
        first.append(body)
        wire.take = lambda wire, body: ends.taken.append(body)

    ends.wire.take = greeted
    ends.other.send(b"\0\0\0\1a\0\0\0\1b")
    await until(lambda: ends.taken)
    assert (first, ends.taken) == ([b"a"], [b"b"])


@pytest.mark.parametrize("failure", [ValueError("too long"), msgspec.DecodeError("no message")])
async def test_a_broken_message_ends_the_connection(ends: SimpleNamespace, failure: Exception):
    def refuse(wire: Wire, body: bytes) -> None:
        raise failure

    ends.wire.take = refuse
    ends.other.send(b"\0\0\0\1a")
    await ends.wire.ended
    assert ends.other.recv(1) == b""


async def test_a_frame_beyond_the_limit_ends_the_connection(ends: SimpleNamespace):
    ends.other.send(b"\xff\xff\xff\xff")
    await ends.wire.ended


async def test_what_is_written_arrives_and_after_the_end_is_dropped(ends: SimpleNamespace):
    ends.wire.write(b"abc")
    assert ends.other.recv(9) == b"abc"
    ends.other.close()
    await ends.wire.ended
    ends.wire.write(b"more")
    ends.wire.close()


async def test_frames_after_the_end_can_be_fed_by_hand(ends: SimpleNamespace):
    ends.other.send(b"\0\0\0\2a")
    ends.other.close()
    await ends.wire.ended
    ends.wire.feed(b"b")
    assert ends.taken == [b"ab"]
