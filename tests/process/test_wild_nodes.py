"""Nodes that crash, exit, loop and leak: the front goes on, the prompt ends in history, the next one runs."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from executor.engine.process import ProcessEngine
from executor.settings import Settings
from tests.process.front import Front, graph

pytestmark = pytest.mark.asyncio(loop_scope="module")

MB = 1 << 20


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def front(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    engine = ProcessEngine(
        Settings(base_directory=folder), loader="tests.process.wild_nodes:load", backoff_s=(0.0, 0.0, 0.1)
    )
    front = await Front(folder, engine).start()
    await front.ready.wait()
    yield front
    pid = pid_of(front)
    await front.stop()
    assert not psutil.pid_exists(pid), "the threads that nodes left behind keep the worker"


def pid_of(front: Front) -> int:
    (worker,) = front.engine.workers()
    assert worker.pid is not None
    return worker.pid


async def next_prompt_runs(front: Front, after: str) -> bool:
    entry = await front.run(f"after {after}", graph("Say", text=after))
    return entry.result.state == "succeeded" and entry.job.attempts == 1


@pytest.mark.parametrize("class_type", ["Segfault", "OsExit"])
async def test_a_node_that_ends_its_process_is_tried_once_more(front: Front, tmp_path: Path, class_type: str):
    entry = await front.run(class_type, graph(class_type, tally=str(tmp_path / "tally")))
    assert (entry.result.state, entry.job.attempts) == ("succeeded", 2)
    assert await next_prompt_runs(front, class_type)


@pytest.mark.parametrize(
    ("class_type", "kind"),
    [("Exit", "SystemExit"), ("Escape", "KeyboardInterrupt"), ("EscapeAsync", "RuntimeError")],
)
async def test_a_node_that_wants_to_end_the_process_only_fails(
    front: Front, tmp_path: Path, class_type: str, kind: str
):
    pid = pid_of(front)
    entry = await front.run(class_type, graph(class_type, tally=str(tmp_path / "tally")))
    event, data = json.loads(entry.result.messages_json)[-1]
    assert (event, data["exception_type"], data["node_id"]) == ("execution_error", kind, "1")
    assert await next_prompt_runs(front, class_type)
    assert pid_of(front) == pid


async def test_a_node_that_loops_forever_delays_nobody_and_is_killed_on_request(front: Front, tmp_path: Path):
    mark = tmp_path / "spinning"
    await front.submit("spin", graph("Spin", mark=str(mark)))
    while not mark.exists():
        await asyncio.sleep(0.01)
    assert front.dispatcher.interrupt("spin")
    assert json.loads(await front.dispatcher.ask("describe", b'["Say"]'))["definitions"]
    assert [job.id for job in front.store.running()] == ["spin"]
    front.dispatcher.interrupt("spin", force=True)
    assert (await front.ended("spin")).result.state == "interrupted"
    assert await next_prompt_runs(front, "spin")


async def test_what_a_node_leaks_is_the_worker_s_alone(front: Front):
    before = psutil.Process(os.getpid()).memory_info().rss
    await front.run("leak", graph("Leak", megabytes=200))
    assert psutil.Process(os.getpid()).memory_info().rss - before < 100 * MB
    assert await next_prompt_runs(front, "leak")
