"""Queues of websocket clients: what a slow one loses, and when it is closed."""

from __future__ import annotations

import asyncio

import pytest

from server import hub
from server.hub import Client, Frame


class Written:
    """A socket that keeps what is written, and then is gone."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    async def write(self, data: bytes) -> None:
        self.writes.append(data)


@pytest.fixture
def written():
    return Written()


@pytest.fixture
def aborted():
    return []


@pytest.fixture
def client(aborted, written):
    return Client(sid="me", socket=None, abort=lambda: aborted.append(True), write=written.write)


def payloads(client):
    return [frame.payload for frame in client.waiting.values()]


async def test_nothing_is_replaced_for_a_client_that_keeps_up(client):
    client.put(Frame("1", "progress"))
    client.put(Frame("2", "progress"))
    assert payloads(client) == ["1", "2"]


async def test_newer_progress_replaces_older_for_a_lagging_client(client, monkeypatch):
    monkeypatch.setattr(hub, "LAGGING_FRAMES", 2)
    for frame in (Frame("a"), Frame("1", "progress"), Frame("2", "progress"), Frame("b")):
        client.put(frame)
    assert payloads(client) == ["a", "2", "b"]


async def test_other_frames_are_never_dropped(client, monkeypatch):
    monkeypatch.setattr(hub, "LAGGING_FRAMES", 2)
    for number in range(10):
        client.put(Frame(str(number)))
    assert len(client.waiting) == 10


async def test_kinds_do_not_replace_each_other(client, monkeypatch):
    monkeypatch.setattr(hub, "LAGGING_FRAMES", 1)
    client.put(Frame("1", "progress"))
    client.put(Frame(b"2", "preview"))
    assert payloads(client) == ["1", b"2"]


@pytest.mark.parametrize(("limit", "value"), [("MOST_FRAMES", 2), ("MOST_BYTES", 2)])
async def test_client_beyond_the_limit_is_cut_off(client, aborted, monkeypatch, limit, value):
    monkeypatch.setattr(hub, limit, value)
    for _ in range(5):
        client.put(Frame("x"))
    assert aborted == [True]
    assert not client.waiting


async def test_bytes_are_counted(client):
    client.put(Frame("abc"))
    client.put(Frame(b"de"))
    assert client.waiting_bytes == 5


async def sent(client):
    """Let the sender of a client work until nothing waits."""
    client.hurry()
    sender = asyncio.create_task(client.send_forever())
    while client.waiting or client.wake.is_set():
        await asyncio.sleep(0)
    sender.cancel()


async def test_what_waits_goes_in_one_write(client, written):
    for payload in ("a", b"b", "c"):
        client.put(Frame(payload))
    await sent(client)
    assert written.writes == [b"\x81\x01a\x82\x01b\x81\x01c"]


async def test_frames_wait_for_others_but_not_for_long(client, written, monkeypatch):
    monkeypatch.setattr(hub, "GATHER_S", 0.001)
    sender = asyncio.create_task(client.send_forever())
    client.put(Frame("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    client.put(Frame("b"))
    assert written.writes == []
    async with asyncio.timeout(60):
        while not written.writes:
            await asyncio.sleep(0.001)
    assert written.writes == [b"\x81\x01a\x81\x01b"]
    sender.cancel()


async def test_last_words_wait_for_nothing(client, written, monkeypatch):
    monkeypatch.setattr(hub, "GATHER_S", 3600.0)
    here = hub.Hub()
    here._clients[client.name] = client
    sender = asyncio.create_task(client.send_forever())
    here.publish("progress", {}, audience="owner", client_id="me")
    here.publish("execution_success", {}, audience="owner", client_id="me")
    here.publish("executing", {"node": None}, audience="owner", client_id="me")
    async with asyncio.timeout(60):
        while not written.writes:
            await asyncio.sleep(0)
    assert (len(written.writes), written.writes[0].count(b'"type"')) == (1, 3)
    sender.cancel()


async def test_a_client_is_told_what_waits_before_the_end_of_its_prompt_is_stored(client, written, monkeypatch):
    monkeypatch.setattr(hub, "GATHER_S", 3600.0)
    here = hub.Hub()
    here._clients[client.name] = client
    sender = asyncio.create_task(client.send_forever())
    here.publish("executed", {}, audience="owner", client_id="me")
    here.hurry("other")
    here.hurry(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert written.writes == []
    here.hurry("me")
    async with asyncio.timeout(5):
        while not written.writes:
            await asyncio.sleep(0)
    sender.cancel()


async def test_one_write_takes_no_more_than_the_socket_should_hold(client, written, monkeypatch):
    monkeypatch.setattr(hub, "BATCH_BYTES", 4)
    for payload in ("abc", "d", "e"):
        client.put(Frame(payload))
    await sent(client)
    assert written.writes == [b"\x81\x03abc", b"\x81\x01d\x81\x01e"]


async def test_each_frame_of_a_batch_carries_its_number(client, written):
    client.numbered = True
    client.put(Frame('{"type": "x"}', number=7))
    client.put(Frame('{"type": "y"}'))
    await sent(client)
    assert written.writes == [b'\x81\x16{"type": "x", "id": 7}\x81\x0d{"type": "y"}']


async def attended(here, client):
    """Have a client come, say what it can do, and go."""

    async def read():
        here.take_flags(client, {"supports_preview_metadata": True})

    await here.attend(client, [], read)


async def test_who_comes_and_goes_is_told(client):
    here, told = hub.Hub(), []
    here.on_change = told.append
    await attended(here, client)
    assert told == [{"me": {}}, {"me": {"supports_preview_metadata": True}}, {"me": None}]
    assert here.connected() == {}


async def test_a_client_whose_place_was_taken_goes_unnoticed(client):
    here, told = hub.Hub(), []

    async def replaced():
        here._clients["", "me"] = Client(sid="me", socket=None, abort=lambda: None, write=Written().write)
        here.on_change = told.append

    await here.attend(client, [], replaced)
    assert told == []
    assert here.connected() == {"me": {}}


def of(owner: str) -> Client:
    """A client of an owner's, under the session id that all owners use."""
    return Client(sid="me", socket=None, abort=lambda: None, write=Written().write, owner=owner)


async def test_a_session_is_gone_for_packs_when_no_owner_has_it_any_more():
    here, told = hub.Hub(separate=True), []

    async def while_bert_is_there():
        here._clients["bert", "me"] = of("bert")
        here.on_change = told.append

    async def alone():
        del here._clients["bert", "me"]

    await here.attend(of("anna"), [], while_bert_is_there)
    assert told == []
    await here.attend(of("anna"), [], alone)
    assert told[-1] == {"me": None}
