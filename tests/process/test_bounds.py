"""What a server holds is bounded: waiting prompts, history, buffers of clients, memory under refused posts."""

import asyncio
import json
from collections.abc import Iterator

import aiohttp
import psutil
import pytest
import requests

from tests.process.front import graph
from tests.process.house import PATIENCE_S, House, succeeded

MB = 1 << 20
REFUSED = 1000


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"), "--max-queue", "3", "--history-limit", "5").start().until_ready()
    yield made
    made.close()


def fill(house: House, go: str) -> list[str]:
    """One prompt that runs until `go` is there, and as many behind it as may wait."""
    first = house.submit("Steps", steps=2, seconds=0.01, go=go)
    house.until(lambda: house.is_running(first))
    return [first, *(house.submit(text=str(number)) for number in range(3))]


def refused_posts(house: House, count: int) -> set[int]:
    """The statuses of prompts that are refused: too many, of an unknown class, no JSON."""
    large = "x" * 20_000
    bodies = (
        json.dumps({"prompt": graph("Say", text=large), "client_id": "me"}),
        json.dumps({"prompt": graph("Sya", text=large)}),
        large,
    )
    with requests.Session() as session:
        return {
            session.post(f"{house.url}/prompt", data=bodies[number % 3], timeout=PATIENCE_S).status_code
            for number in range(count)
        }


def grown_by_refused_posts(house: House, go: str, count: int) -> float:
    """Megabytes that the front grew by them, after a warm-up."""
    ids = fill(house, go)
    front = psutil.Process(house.process.pid)
    assert refused_posts(house, 300) == {400, 429}
    before = front.memory_info().rss
    refused_posts(house, count)
    grown = (front.memory_info().rss - before) / MB
    open(go, "w").close()
    assert all(succeeded(house.ended(prompt_id)) for prompt_id in ids)
    return grown


def test_more_prompts_than_may_wait_are_refused(house: House, tmp_path):
    ids = fill(house, str(tmp_path / "go"))
    refused = house.post("/prompt", {"prompt": graph("Say", text="too many")})
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json()["error"]["type"] == "queue_full"
    (tmp_path / "go").touch()
    assert all(succeeded(house.ended(prompt_id)) for prompt_id in ids)
    assert succeeded(house.run(text="room again"))


def test_the_history_keeps_the_newest(house: House):
    ids = [house.submit(text=f"history {number}") for number in range(3)]
    house.ended(ids[-1])
    newest = [house.submit(text=f"newer {number}") for number in range(3)]
    house.ended(newest[-1])
    assert list(house.get("/history").json()) == [*ids, *newest][-5:]


def test_refused_posts_leave_memory_flat(house: House, tmp_path):
    assert grown_by_refused_posts(house, str(tmp_path / "go"), REFUSED) < 10


@pytest.mark.soak
def test_ten_thousand_refused_posts_leave_memory_flat(house: House, tmp_path):
    assert grown_by_refused_posts(house, str(tmp_path / "go"), 10_000) < 10


async def test_a_client_that_never_reads_is_let_go_and_nobody_waits_for_it(house: House):
    front = psutil.Process(house.process.pid)
    async with aiohttp.ClientSession(house.url) as session:
        deaf = await session.ws_connect("/ws?clientId=deaf", receive_timeout=None)
        deaf._conn.transport.pause_reading()
        before = front.memory_info().rss
        for salt in range(3):
            assert succeeded(await asyncio.to_thread(house.run, "Shout", count=200, bytes=200_000, salt=salt))
        assert (front.memory_info().rss - before) / MB < 100
        assert "reads too slowly" in house.log()
        deaf._conn.transport.resume_reading()
