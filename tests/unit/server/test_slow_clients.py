"""Websocket clients that do not read, read a byte now and then, or are gone without having said so."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from server import hub
from tests.unit.server.raw_socket import RawSocket

TEXT = "x" * 50_000
TURNS = 200  # 10 MB: more than the system keeps for a socket that is not read

Connect = Callable[[str], Awaitable[RawSocket]]


@pytest.fixture
async def connect(stand) -> AsyncIterator[Connect]:
    """Open websockets that are read by hand."""
    made: list[RawSocket] = []

    async def open_one(client_id: str) -> RawSocket:
        made.append(await RawSocket.connect(stand.client.port, client_id))
        assert (await made[-1].frame())["type"] == "status"
        return made[-1]

    yield open_one
    for raw in made:
        raw.close()


@pytest.fixture
async def hearing(stand):
    """A client that reads."""
    socket = await stand.client.ws_connect("/ws?clientId=hearing")
    await socket.receive_json()
    yield socket
    await socket.close()


def flood(stand, client_id: str, turn: int) -> None:
    """What a running prompt of a client sends in one step."""
    for event, data in (("progress_state", TEXT), ("progress", turn), ("executed", {"turn": turn, "text": TEXT})):
        stand.front.hub.publish(event, data, audience="owner", client_id=client_id, job_id="job")


async def turns_heard(stand, hearing, slow: RawSocket | None = None) -> list[int]:
    """What a client that reads gets at once in each turn, while others are flooded."""
    heard = []
    for turn in range(TURNS):
        flood(stand, "slow", turn)
        stand.front.hub.publish("turn", turn, audience="owner", client_id="hearing")
        heard.append((await hearing.receive_json(timeout=60))["data"])
        if slow is not None:
            await slow.read(1)
    return heard


async def test_client_that_never_reads_delays_nobody(stand, connect, hearing):
    await connect("slow")
    assert await turns_heard(stand, hearing) == list(range(TURNS))


async def test_client_that_reads_a_byte_at_a_time_delays_nobody(stand, connect, hearing):
    slow = await connect("slow")
    assert await turns_heard(stand, hearing, slow) == list(range(TURNS))


async def test_client_that_reads_again_gets_what_matters_and_the_newest_progress(stand, connect, hearing):
    slow = await connect("slow")
    await turns_heard(stand, hearing)
    frames = []
    while not frames or frames[-1] != {"type": "end", "data": 1}:
        if len(frames) == 1:
            stand.front.hub.publish("end", 1, audience="owner", client_id="slow")
        frames.append(await slow.frame())
    turns = {name: [f["data"] for f in frames if f["type"] == name] for name in ("executed", "progress")}
    assert [data["turn"] for data in turns["executed"]] == list(range(TURNS))
    assert len(turns["progress"]) < TURNS
    assert turns["progress"] == sorted(turns["progress"])
    assert turns["progress"][-1] == TURNS - 1


async def test_client_past_the_limit_is_closed_and_others_go_on(stand, connect, hearing, monkeypatch):
    monkeypatch.setattr(hub, "MOST_BYTES", 1 << 20)
    slow = await connect("slow")
    assert await turns_heard(stand, hearing) == list(range(TURNS))
    await slow.read_to_the_end()
    again = await connect("slow")
    stand.front.hub.publish("note", 1, audience="owner", client_id="slow")
    assert await again.frame() == {"type": "note", "data": 1}


# ---------------------------------------------------------------- crowds


async def told_lengths(socket, last: int) -> list[int]:
    """The queue's lengths that a client hears, up to one."""
    heard = [-1]
    while heard[-1] != last:
        event = await socket.receive_json(timeout=60)
        if event["type"] == "status":
            heard.append(event["data"]["status"]["exec_info"]["queue_remaining"])
    return heard[1:]


def tell_lengths(stand) -> None:
    for length in range(1, 50):
        data = {"status": {"exec_info": {"queue_remaining": length}}}
        stand.front.hub.publish("status", data, audience="all")


async def test_in_a_crowd_those_without_a_prompt_hear_the_newest_length(stand, hearing, monkeypatch):
    monkeypatch.setattr(hub, "CROWD", 0)
    tell_lengths(stand)
    assert await told_lengths(hearing, 49) == [1, 49]


async def test_in_a_crowd_those_with_a_prompt_hear_every_length(stand, hearing, monkeypatch):
    monkeypatch.setattr(hub, "CROWD", 0)
    stand.front.hub.publish("note", 1, audience="owner", client_id="hearing")
    tell_lengths(stand)
    assert await told_lengths(hearing, 49) == list(range(1, 50))


async def test_length_that_was_held_back_comes_before_what_a_first_prompt_tells(stand, hearing, monkeypatch):
    monkeypatch.setattr(hub, "CROWD", 0)
    tell_lengths(stand)
    stand.front.hub.publish("note", 1, audience="owner", client_id="hearing")
    heard = [await hearing.receive_json(timeout=60) for _ in range(3)]
    assert [event["type"] for event in heard] == ["status", "status", "note"]
    assert heard[1]["data"]["status"]["exec_info"]["queue_remaining"] == 49


async def test_few_clients_hear_every_length(stand, hearing):
    tell_lengths(stand)
    assert await told_lengths(hearing, 49) == list(range(1, 50))


# ---------------------------------------------------------------- half-open connections


async def heard_of_one_prompt(stand, socket) -> list[str]:
    """Submit a prompt as `me`, play it, and return the events that the socket gets."""
    await stand.submit(client_id="me", prompt_id="p")
    await stand.engine.job()
    stand.engine.emit("executing", {"node": "1", "prompt_id": "p"}, owner="me")
    stand.engine.given.set()
    await stand.engine.succeed()
    heard = []
    while not heard or heard[-1] != {"type": "executing", "data": {"node": None, "prompt_id": "p"}}:
        heard.append(json.loads((await socket.receive(timeout=60)).data))
    return [told["type"] for told in heard]


WHOLE = ["status", "status", "executing", "execution_success", "status", "executing"]


async def reconnected(stand):
    socket = await stand.client.ws_connect("/ws?clientId=me")
    assert (await socket.receive_json(timeout=60))["type"] == "status"
    return socket


async def test_client_whose_old_socket_is_half_open_hears_all_after_it_reconnects(stand, connect):
    await connect("me")  # nothing is read from it any more, and no end of it is told
    assert await heard_of_one_prompt(stand, await reconnected(stand)) == WHOLE


async def test_old_socket_that_ends_at_last_takes_nothing_from_the_new_one(stand, connect):
    old = await connect("me")
    socket = await reconnected(stand)
    old.vanish()
    assert await heard_of_one_prompt(stand, socket) == WHOLE
    assert await heard_of_one_prompt(stand, socket) == WHOLE


async def test_half_open_socket_that_is_full_takes_nothing_from_the_new_one(stand, connect):
    await connect("me")
    for turn in range(TURNS):
        flood(stand, "me", turn)
    assert await heard_of_one_prompt(stand, await reconnected(stand)) == WHOLE
