"""Workers and fronts that are killed: what was accepted ends in history all the same."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from executor.engine.base import Heard, WorkerLost
from executor.engine.process import ROOT, ProcessEngine
from executor.settings import Settings
from tests.process.front import Front, graph


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    front = await Front(tmp_path).start()
    yield front
    await front.stop()


def pid_of(front: Front) -> int:
    (worker,) = front.engine.workers()
    assert worker.pid is not None
    return worker.pid


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who is killed first when memory runs out")
async def test_a_worker_is_killed_before_its_front_when_memory_runs_out(front: Front):
    await asyncio.wait_for(front.ready.wait(), 60)
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (pid_of(front), os.getpid())]
    assert scores[0] == min(scores[1] + 500, 1000)
    assert scores[0] > scores[1]


async def gone(pid: int) -> bool:
    """Wait for a process to end, for a minute at most."""
    for _ in range(6000):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_a_killed_worker_comes_back_and_its_prompt_ends(front: Front, tmp_path: Path):
    await front.submit("a", graph("Sleep", seconds=0.3))
    await front.until_heard("executing", "a")
    os.kill(pid_of(front), signal.SIGKILL)
    entry = await front.ended("a")
    assert (entry.result.state, entry.job.attempts) == ("succeeded", 2)


async def test_a_class_that_was_quick_until_it_killed_its_worker_is_named(front: Front):
    for number in range(3):
        await front.submit(f"quick {number}", graph("Turn", number=number, deadly=False))
        await front.ended(f"quick {number}")
    await front.submit("killer", graph("Turn", number=9, deadly=True))
    killer = await front.ended("killer")
    event, data = json.loads(killer.result.messages_json)[-1]
    assert (event, data["node_id"], data["node_type"]) == ("execution_error", "1", "Turn")
    told = [name for name, data in front.events if data.get("prompt_id") == "killer" and name != "progress_state"]
    attempt = ["execution_start", "execution_cached", "executing"]
    assert told == [*attempt, *attempt, "execution_error", "executing"]


async def test_a_prompt_that_always_kills_its_worker_fails_and_the_next_runs(front: Front, tmp_path: Path):
    await front.submit("killer", graph("Crash", tally=str(tmp_path / "tally"), times=9))
    await front.submit("next", graph("Say", text="next"))
    killer, following = await front.ended("killer"), await front.ended("next")
    event, data = json.loads(killer.result.messages_json)[-1]
    assert (event, data["node_id"], data["node_type"]) == ("execution_error", "1", "Crash")
    assert "killed by SIGKILL" in data["exception_message"]
    assert (following.result.state, following.job.attempts) == ("succeeded", 1)
    assert sum(name == "execution_error" for name, _ in front.events) == 1


async def test_a_forced_interrupt_kills_the_worker_and_ends_the_prompt(front: Front, tmp_path: Path):
    mark = tmp_path / "holding"
    await front.submit("hung", graph("HoldInterpreter", seconds=60.0, mark=str(mark)))
    while not mark.exists():
        await asyncio.sleep(0.01)
    front.dispatcher.interrupt("hung", force=True)
    assert (await front.ended("hung")).result.state == "interrupted"


async def test_a_worker_ends_by_itself_when_its_channel_closes(front: Front):
    await front.ready.wait()
    lost: list[str] = []

    async def note(worker: str, reason: str) -> None:
        lost.append(reason)

    front.dispatcher._lost = note
    front.engine._slots["worker-0"].wire.close()
    while not lost:
        await asyncio.sleep(0.01)
    assert lost == ["exit code 0"]


async def test_all_prompts_of_a_killed_front_end_after_its_restart(tmp_path: Path):
    front = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.process.front", str(tmp_path)), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert front.stdout is not None
    word, pid = (await front.stdout.readline()).split()
    assert word == b"running"
    front.kill()
    await front.wait()
    assert await gone(int(pid)), "the worker outlived its front"
    again = await Front(tmp_path).start()
    entries = [await again.ended(prompt_id) for prompt_id in ("running", "first", "second", "third")]
    await again.stop()
    assert [entry.result.state for entry in entries] == ["succeeded"] * 4
    assert [entry.job.attempts for entry in entries] == [2, 1, 1, 1]


async def test_a_worker_whose_nodes_do_not_load_is_started_again(tmp_path: Path):
    engine = ProcessEngine(Settings(base_directory=tmp_path), loader="tests.process.no_such:load", backoff_s=(0.0,))
    heard = Heard()
    await engine.start(heard)
    async with asyncio.timeout(300):
        _, lost = await heard.next()
        while engine.workers()[0].starts < 2:
            await asyncio.sleep(0.01)
    (worker,) = engine.workers()
    await engine.stop()
    assert (lost, worker.crashes) == (WorkerLost("exit code 1"), 1)


async def test_a_stranger_on_the_socket_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    engine = ProcessEngine(Settings(base_directory=tmp_path), loader="tests.process.no_such:load")
    await engine.start(Heard())
    reader, writer = await asyncio.open_unix_connection(engine._address.removeprefix("unix:"))
    writer.write(b"\x00\x00\x00\x04junk")
    assert await reader.read() == b""
    writer.close()
    assert engine._folder is not None
    assert engine._folder.stat().st_mode & 0o777 == 0o700
    await engine.stop()
    assert not engine._folder.exists()
