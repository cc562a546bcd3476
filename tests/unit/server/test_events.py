"""The log of events, and its replay over Server-Sent Events and websockets."""

from __future__ import annotations

import asyncio
import json

import pytest

from executor.errors import BadInput
from executor.queue.job import HistoryEntry, Result, make_job
from server.eventlog import Event, EventLog, Wanted
from server.replay import missed
from server.routes.events import event_number, sse


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000_000

    def __call__(self) -> int:
        return self.ns


def filled(count: int, **limits: int) -> EventLog:
    log = EventLog(clock_ns=Clock(), **limits)
    for number in range(count):
        log.add("e", {"n": number}, audience="all", job_id="j")
    return log


def shown(events: list[Event]) -> list[int]:
    return [json.loads(event.data_json)["n"] for event in events]


class Past:
    """A history of jobs that ended."""

    def __init__(self, *entries: HistoryEntry) -> None:
        self.entries = entries

    async def ended_since(self, ms: int, most: int, owner: str | None = None) -> list[HistoryEntry]:
        return [entry for entry in self.entries if entry.ended_ms >= ms]


def ended(job_id: str, ended_ms: int) -> HistoryEntry:
    job = make_job(prompt_id=job_id, number=0, prompt={}, targets=["1"], extra_data={"client_id": "me"})
    result = Result(state="succeeded", messages_json=json.dumps([["execution_success", {"n": job_id}]]).encode())
    return HistoryEntry(job=job, result=result, ended_ms=ended_ms)


def test_numbers_grow_when_the_clock_stands_still_or_goes_back():
    clock = Clock()
    log = EventLog(clock_ns=clock)
    numbers = [log.add("e", {}, audience="all").number for _ in range(3)]
    clock.ns -= 10**9
    numbers.append(log.add("e", {}, audience="all").number)
    assert numbers == sorted(set(numbers))


def test_a_later_start_begins_with_higher_numbers():
    clock = Clock()
    before = EventLog(clock_ns=clock).add("e", {}, audience="all").number
    clock.ns += 10_000
    assert EventLog(clock_ns=clock).add("e", {}, audience="all").number > before


def test_after_a_number_comes_the_rest():
    log = filled(5)
    assert shown(log.after(log.after(0)[1].number)) == [2, 3, 4]


def test_the_log_keeps_the_newest_events():
    log = filled(25, most=10, spare=5)
    kept = shown(log.after(0))
    assert kept == list(range(25 - len(kept), 25))
    assert 10 <= len(kept) <= 15


def test_the_log_keeps_only_so_many_bytes():
    log = filled(100, most_bytes=100)
    kept = log.after(0)
    assert sum(len(event.data_json) for event in kept) <= 100
    assert shown(kept)[-1] == 99


@pytest.mark.parametrize(
    ("wanted", "heard"),
    [
        (Wanted(), "all mine yours job bystander"),
        (Wanted(client_id="me"), "all mine bystander"),
        (Wanted(job_id="j"), "job"),
        (Wanted(client_id="me", job_id="j"), ""),
    ],
)
def test_who_hears_what(wanted: Wanted, heard: str):
    log = EventLog()
    log.add("all", {}, audience="all")
    log.add("mine", {}, audience="owner", client_id="me")
    log.add("yours", {}, audience="owner", client_id="you")
    log.add("job", {}, audience="owner", client_id="you", job_id="j")
    log.add("bystander", {}, audience="owner_or_all", client_id=None)
    assert [event.name for event in log.after(0) if event in wanted] == heard.split()


async def test_a_gap_is_told_with_the_ends_of_jobs_that_fell_into_it():
    log = filled(2)
    log.add("execution_success", {"n": "both"}, audience="owner", client_id="me", job_id="both")
    asked_ms = log.oldest // 1000 - 5
    past = Past(ended("before", asked_ms - 1), ended("in it", asked_ms + 1), ended("both", asked_ms + 2))
    replay = await missed(log, past, asked_ms * 1000, Wanted())
    assert replay.gap is not None
    assert json.loads(replay.gap.data_json) == {"asked": asked_ms * 1000, "oldest": log.oldest}
    assert shown(replay.events) == ["in it", 0, 1, "both"]


async def test_no_gap_is_told_where_nothing_is_gone():
    log = filled(3)
    replay = await missed(log, Past(), log.oldest, Wanted())
    assert (replay.gap, shown(replay.events)) == (None, [1, 2])


async def test_zero_asks_for_all_that_is_kept():
    replay = await missed(filled(25, most=10, spare=5), Past(ended("x", 10**12)), 0, Wanted())
    assert (replay.gap, len(replay.events) >= 10) == (None, True)


async def test_a_number_that_is_still_to_come_is_a_gap():
    log = filled(1)
    assert (await missed(log, Past(), log.newest + 1, Wanted())).gap is not None


async def test_news_end_the_waiting():
    log = filled(1)
    waiting = asyncio.ensure_future(log.news(log.newest, 60))
    await asyncio.sleep(0)
    log.add("e", {}, audience="all")
    await asyncio.wait_for(waiting, 5)


async def test_the_end_of_the_log_ends_the_waiting():
    log = filled(1)
    waiting = asyncio.ensure_future(log.news(log.newest, 60))
    await asyncio.sleep(0)
    log.close()
    await asyncio.wait_for(waiting, 5)


def test_an_event_on_the_wire():
    told = Event(number=7, name="e\nid: 9", data_json=b'{"a":\n1}')
    assert sse(told) == b'id: 7\nevent: e id: 9\ndata: {"a": 1}\n\n'


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "٣", "9" * 19])
def test_what_is_no_number_is_refused(text: str):
    with pytest.raises(BadInput):
        event_number(text)


# ---------------------------------------------------------------- over HTTP


async def streamed(stand, last: str, *, until: str, **query: str) -> list[tuple[str, str]]:
    """Ids and names of the events up to one of that name."""
    found: list[tuple[str, str]] = []
    number = ""
    async with stand.get("/weft/events", params=query, headers={"Last-Event-ID": last}) as answer:
        assert answer.content_type == "text/event-stream"
        async with asyncio.timeout(60):
            async for line in answer.content:
                name, _, value = line.decode().strip().partition(": ")
                if name == "id":
                    number = value
                if name == "event":
                    found.append((number, value))
                if found and found[-1][1] == until:
                    return found
    raise AssertionError(found)


async def test_a_stream_resumes_after_the_event_it_heard_last(stand):
    await stand.submit(prompt_id="p", client_id="me")
    await stand.engine.succeed()
    await stand.idle()
    whole = await streamed(stand, "0", until="executing", clientId="me")
    assert [name for _, name in whole] == ["status", "status", "execution_success", "status", "executing"]
    assert await streamed(stand, whole[1][0], until="executing", clientId="me") == whole[2:]


async def test_a_stream_of_one_prompt_has_no_other_s_events(stand):
    for prompt_id in ("p", "q"):
        await stand.submit(prompt_id=prompt_id, client_id="me")
        await stand.engine.succeed()
        await stand.idle()
    heard = await streamed(stand, "0", until="executing", prompt_id="q")
    assert [name for _, name in heard] == ["execution_success", "executing"]


async def test_a_stream_goes_on_with_what_comes(stand):
    listening = asyncio.ensure_future(streamed(stand, "", until="marker"))
    while not stand.front.hub.log._waiting:
        await asyncio.sleep(0)
    stand.engine.emit("marker", {}, owner=None, audience="all")
    assert [name for _, name in await listening] == ["marker"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_stream_of_a_prompt_that_nobody_knows_is_refused(stand, method):
    async with stand.client.request(method, "/weft/events?prompt_id=nobody") as answer:
        assert answer.status == 404
        if method == "GET":
            assert (await answer.json())["error"]["type"] == "unknown_prompt"


async def test_a_prompt_that_left_only_events_is_still_known(stand):
    await stand.submit(prompt_id="p", client_id="me")
    await stand.engine.succeed()
    await stand.idle()
    await stand.post("/history", json={"clear": True})
    heard = await streamed(stand, "0", until="executing", prompt_id="p")
    assert [name for _, name in heard] == ["execution_success", "executing"]


async def test_a_prompt_that_waits_or_runs_is_known_before_its_first_event(stand):
    await stand.submit(prompt_id="p", client_id="me")
    async with stand.client.head("/weft/events?prompt_id=p") as answer:
        assert answer.status == 200


async def test_head_of_the_stream_ends(stand):
    async with stand.client.head("/weft/events") as answer:
        assert answer.status == 200


async def test_a_bad_number_is_refused_by_both(stand):
    assert (await stand.get("/weft/events", headers={"Last-Event-ID": "x"})).status == 400
    assert (await stand.get("/ws?last_event=x")).status == 400


async def test_a_websocket_that_names_its_last_event_hears_what_it_missed_with_numbers(stand):
    await stand.submit(prompt_id="p", client_id="me")
    await stand.engine.succeed()
    await stand.idle()
    first = stand.front.hub.log.after(0)[0].number
    socket = await stand.client.ws_connect(f"/ws?clientId=me&last_event={first}")
    frames = [await socket.receive_json(timeout=60) for _ in range(5)]
    assert [frame["type"] for frame in frames] == ["status", "status", "execution_success", "status", "executing"]
    assert "id" not in frames[0]
    numbers = [frame["id"] for frame in frames[1:]]
    assert numbers == sorted(numbers)
    assert numbers[0] > first
    stand.engine.emit("marker", {}, owner=None, audience="all")
    assert (await socket.receive_json(timeout=60))["id"] > numbers[-1]


async def test_a_websocket_with_an_empty_last_event_gets_numbers_from_now_on(stand):
    await stand.submit(client_id="me")
    socket = await stand.client.ws_connect("/ws?clientId=you&last_event=")
    assert "id" not in await socket.receive_json(timeout=60)
    stand.engine.emit("marker", {}, owner=None, audience="all")
    frame = await socket.receive_json(timeout=60)
    assert (frame["type"], set(frame)) == ("marker", {"type", "data", "id"})


async def test_a_plain_websocket_has_no_extra_keys(stand):
    socket = await stand.client.ws_connect("/ws?clientId=me")
    await socket.receive_json(timeout=60)
    stand.engine.emit("marker", {}, owner=None, audience="all")
    assert set(await socket.receive_json(timeout=60)) == {"type", "data"}
