"""Two workers at once: each with its own prompt, its own end, its own events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.engine.process import ProcessEngine
from executor.settings import Settings
from tests.process.front import LOADER, Front, graph


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    engine = ProcessEngine(Settings(base_directory=tmp_path, workers=2), loader=LOADER, backoff_s=(0.0, 0.0, 0.1))
    front = await Front(tmp_path, engine).start()
    yield front
    await front.stop()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where prompts meet."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def meet(place: Path, name: str, count: int) -> dict[str, object]:
    return graph("Meet", folder=str(place), name=name, count=count)


async def both_wait(front: Front, place: Path) -> None:
    """Have prompts a and b wait for a third in two workers."""
    for name in "ab":
        await front.submit(name, meet(place, name, 3))
    for name in "ab":
        await front.until_heard("progress", name)


async def pid_in(front: Front, prompt_id: str) -> int:
    entry = await front.ended(prompt_id)
    assert entry.result.state == "succeeded"
    return json.loads(entry.result.outputs_json)["1"]["pid"][0]


async def test_two_prompts_run_at_once_and_tell_their_own_steps(front: Front, place: Path):
    await both_wait(front, place)
    (place / "third").touch()
    assert await pid_in(front, "a") != await pid_in(front, "b")
    for name in "ab":
        told = [event for event, data in front.events if data.get("prompt_id") == name and event != "progress_state"]
        assert told[:4] == ["execution_start", "execution_cached", "executing", "progress"]
        assert told[-2:] == ["execution_success", "executing"]


async def test_a_cancel_hits_the_one_it_names(front: Front, place: Path):
    await both_wait(front, place)
    assert front.dispatcher.interrupt("b")
    assert (await front.ended("b")).result.state == "interrupted"
    assert not front.heard("execution_success", "a")
    (place / "third").touch()
    assert (await front.ended("a")).result.state == "succeeded"


async def test_a_worker_that_dies_does_not_disturb_the_other(front: Front, place: Path, tmp_path: Path):
    await front.submit("a", meet(place, "a", 2))
    await front.until_heard("progress", "a")
    await front.submit("killer", graph("Crash", tally=str(tmp_path / "tally"), times=9))
    assert (await front.ended("killer")).result.state == "failed"
    assert not front.heard("execution_success", "a")
    await front.submit("next", graph("Say", text="next"))
    assert (await front.ended("next")).result.state == "succeeded", "a new process takes its place"
    (place / "second").touch()
    entry = await front.ended("a")
    assert (entry.result.state, entry.job.attempts) == ("succeeded", 1)


async def test_a_prompt_goes_to_the_worker_that_has_its_results(front: Front, place: Path):
    await both_wait(front, place)
    (place / "third").touch()
    where = {name: (await front.ended(name)).job.worker for name in "ab"}
    assert len(set(where.values())) == 2
    for turn, name in enumerate("abba"):
        await front.submit(f"{name} {turn}", meet(place, name, 3))
        entry = await front.ended(f"{name} {turn}")
        assert entry.job.worker == where[name]
        assert "1" in json.loads(entry.result.messages_json)[1][1]["nodes"], "it was cached"
