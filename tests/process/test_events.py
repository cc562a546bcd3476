"""Events are not lost to those who ask: streams and websockets that come back hear what they missed."""

import json
from itertools import takewhile

import pytest
import requests

from tests.process.front import graph
from tests.process.house import House, events_of, parsed, succeeded


@pytest.fixture(scope="module")
def told(house: House) -> list[dict]:
    """The events of one prompt, as a stream from the start tells them."""
    answer = house.post("/prompt", {"prompt": graph("Steps", steps=5, seconds=0.0), "client_id": "me"})
    return until_end(events_of(house, last_event=0), answer.json()["prompt_id"])


def until_end(events, prompt_id: str) -> list[dict]:
    """Events up to the last word of a prompt."""
    last = {"node": None, "prompt_id": prompt_id}
    found = list(takewhile(lambda event: event["data"] != last, events))
    assert found
    return found


def test_the_stream_tells_all_in_order_and_once(house: House, told: list[dict]):
    numbers = [int(event["id"]) for event in told]
    assert numbers == sorted(set(numbers))
    names = [event["event"] for event in told if event["event"] not in ("status", "progress_state", "progress")]
    assert names == ["execution_start", "execution_cached", "executing", "executed", "execution_success"]
    assert [event["data"]["value"] for event in told if event["event"] == "progress"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("heard", [1, 7, 12])
def test_a_stream_that_broke_off_anywhere_resumes_without_a_hole(house: House, told: list[dict], heard: int):
    headers = {"Last-Event-ID": told[heard]["id"]}
    with requests.get(f"{house.url}/weft/events", headers=headers, stream=True, timeout=60) as answer:
        rest = [event for event, _ in zip(parsed(answer), told[heard + 1 :], strict=False)]
    assert rest == told[heard + 1 :]


async def test_a_websocket_that_comes_back_hears_what_it_missed(house: House, told: list[dict]):
    import aiohttp

    async with (
        aiohttp.ClientSession(house.url) as session,
        session.ws_connect(f"/ws?clientId=me&last_event={told[3]['id']}") as socket,
    ):
        assert "id" not in await socket.receive_json(timeout=60)
        frames = [await socket.receive_json(timeout=60) for _ in told[4:]]
    assert [(frame["id"], frame["type"], frame["data"]) for frame in frames] == [
        (int(event["id"]), event["event"], event["data"]) for event in told[4:]
    ]


def test_after_a_restart_a_gap_is_told_and_the_end_that_fell_into_it(make_house, tmp_path):
    house: House = make_house().start().until_ready()
    prompt_id = house.submit("Steps", steps=2, seconds=0.0, go=str(tmp_path / "go"))
    stream = events_of(house, last_event=0)
    heard = next(event for event in stream if event["event"] == "executing")
    stream.close()
    (tmp_path / "go").touch()
    assert succeeded(house.ended(prompt_id))
    house.kill()
    house.start()
    again = events_of(house, last_event=heard["id"])
    gap, end = next(again), next(again)
    again.close()
    assert (gap["event"], gap["data"]["asked"], "id" in gap) == ("gap", int(heard["id"]), False)
    assert (end["event"], end["data"]["prompt_id"]) == ("execution_success", prompt_id)
    assert int(end["id"]) > int(heard["id"])
    assert json.dumps(end["data"]) == json.dumps(house.entry(prompt_id)["status"]["messages"][-1][1])
