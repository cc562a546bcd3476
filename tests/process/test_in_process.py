"""The engine without processes: the same protocol on two threads of this one."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.engine.base import Heard
from executor.engine.inprocess import InProcessEngine
from executor.settings import Settings
from tests.process.front import LOADER, Front, graph


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    settings = Settings(base_directory=tmp_path)
    front = await Front(tmp_path, InProcessEngine(settings, loader=LOADER)).start()
    yield front
    await front.stop()


async def test_a_prompt_ends_in_history(front: Front):
    entry = await front.run("a", graph("Say", text="hello"))
    assert json.loads(entry.result.outputs_json) == {"1": {"text": ["hello"]}}


async def test_an_interrupt_ends_a_long_node(front: Front):
    await front.submit("a", graph("Sleep", seconds=30.0))
    await front.until_heard("executing", "a")
    front.dispatcher.interrupt()
    assert (await front.ended("a")).result.state == "interrupted"


async def test_stopping_puts_the_running_prompt_back(tmp_path: Path):
    settings = Settings(base_directory=tmp_path)
    front = await Front(tmp_path, InProcessEngine(settings, loader=LOADER)).start()
    await front.submit("a", graph("Sleep", seconds=30.0))
    await front.until_heard("executing", "a")
    await front.dispatcher.stop()
    assert [job.id for job in front.store.pending()] == ["a"]
    await front.store.close()


async def test_a_loader_that_fails_is_told_with_its_reason(tmp_path: Path):
    engine = InProcessEngine(Settings(base_directory=tmp_path), loader="tests.process.no_such:load", backoff_s=(9.0,))
    heard = Heard()
    await engine.start(heard)
    _, message = await heard.next()
    await engine.stop()
    assert "no_such" in message.reason
