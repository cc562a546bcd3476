"""A worker has a job before its acceptance is on disk: until then nobody hears of it, and of a refused one never."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.unit.executor.queue.test_dispatcher import Stage

PATIENCE_S = 60.0


class SlowDisk:
    """Commits nothing while it is shut."""

    def __init__(self, stage: Stage) -> None:
        self._open = threading.Event()
        stage.store._database.post(lambda connection: self._open.wait(PATIENCE_S))

    def open(self) -> None:
        self._open.set()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    await stage.store.open()
    await stage.dispatcher.start()
    yield stage
    await stage.dispatcher.stop()
    await stage.store.close()


@pytest.fixture
async def disk(stage: Stage) -> Iterator[SlowDisk]:
    disk = SlowDisk(stage)
    yield disk
    disk.open()


@pytest.fixture
async def full_disk(stage: Stage) -> None:
    refuse = "CREATE TRIGGER full BEFORE INSERT ON queue BEGIN SELECT RAISE(ABORT, 'full'); END"
    await stage.store._database.run(lambda connection: connection.execute(refuse) and None)


async def make_room(stage: Stage) -> None:
    await stage.store._database.run(lambda connection: connection.execute("DROP TRIGGER full") and None)


async def settle() -> None:
    """Let everything happen that needs no disk."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_worker_has_a_job_before_the_disk_and_nobody_hears_of_it(stage: Stage, disk: SlowDisk):
    coming = asyncio.create_task(stage.submit("a", client_id="me"))
    run = await stage.taken()
    stage.engine.tell_executing("a", "1")
    await settle()
    assert (run.held, stage.engine.begun, stage.ear.names(), coming.done()) == (True, [], [], False)
    assert (stage.store.running(), stage.store.remaining()) == ([], 0)
    disk.open()
    stored = await coming
    await stage.ear.until(lambda: len(stage.ear.names()) == 3)
    assert (stored.row, run.row, stage.engine.begun) == (1, 1, [("w0", "a")])
    assert stage.ear.names() == ["status", "status", "executing"]


async def test_an_end_before_the_disk_is_stored_and_told_after_it(stage: Stage, disk: SlowDisk):
    coming = asyncio.create_task(stage.submit("a"))
    await stage.taken()
    stage.engine.tell_finished("a")
    await settle()
    assert stage.ear.names() == []
    disk.open()
    await coming
    await stage.ear.until_ended("a")
    assert await stage.state_of("a") == "succeeded"


async def test_how_far_a_job_is_counts_from_its_first_word(stage: Stage, disk: SlowDisk):
    coming = asyncio.create_task(stage.submit("a"))
    await stage.taken()
    stage.engine.tell_executing("a", "1")
    await settle()
    disk.open()
    await coming
    assert [running.node_id for running in stage.dispatcher.current()] == ["1"]


async def test_a_second_job_waits_behind_one_that_is_not_accepted_yet(stage: Stage, disk: SlowDisk):
    coming = [asyncio.create_task(stage.submit(name)) for name in ("a", "b")]
    await stage.taken()
    await settle()
    assert stage.engine.runs.empty()
    disk.open()
    await asyncio.gather(*coming)
    stage.engine.tell_finished("a")
    assert (await stage.taken()).job_id == "b"


@pytest.mark.usefixtures("full_disk")
async def test_of_a_job_that_the_disk_refuses_nobody_hears(stage: Stage):
    with pytest.raises(sqlite3.Error):
        await stage.submit("a", client_id="me")
    await settle()
    assert (stage.engine.begun, stage.engine.interrupts) == ([], [("w0", "a", False)])
    stage.engine.tell_executing("a", "1")
    stage.engine.tell_finished("a", "interrupted")
    await settle()
    assert stage.ear.names() == []
    assert (await stage.state_of("a"), stage.store.remaining()) == (None, 0)


@pytest.mark.usefixtures("full_disk")
async def test_a_worker_takes_the_next_job_once_it_has_ended_the_refused_one(stage: Stage):
    with pytest.raises(sqlite3.Error):
        await stage.submit("a")
    await make_room(stage)
    await stage.taken()
    await stage.submit("b")
    await settle()
    assert stage.engine.runs.empty(), "the worker has not let go of the refused one"
    stage.engine.tell_finished("a", "interrupted")
    assert (await stage.taken()).job_id == "b"


@pytest.mark.usefixtures("full_disk")
async def test_a_worker_that_dies_of_a_refused_job_is_replaced(stage: Stage):
    with pytest.raises(sqlite3.Error):
        await stage.submit("a")
    await make_room(stage)
    await stage.taken()
    stage.engine.tell_lost()
    stage.engine.tell_ready()
    await stage.submit("b")
    assert (await stage.taken()).job_id == "b"
    assert stage.ear.names()[0] == "status"


@pytest.mark.usefixtures("full_disk")
async def test_a_refused_job_that_no_worker_saw_holds_up_nobody(stage: Stage):
    stage.engine.refuse = True
    with pytest.raises(sqlite3.Error):
        await stage.submit("a")
    await make_room(stage)
    await stage.submit("b")
    assert ((await stage.taken()).job_id, stage.engine.interrupts) == ("b", [])


async def test_a_worker_that_dies_before_the_acceptance_costs_the_job_nothing_but_an_attempt(
    stage: Stage, disk: SlowDisk
):
    coming = asyncio.create_task(stage.submit("a"))
    await stage.taken()
    stage.engine.tell_lost()
    await settle()
    disk.open()
    await coming
    stage.engine.tell_ready()
    again = await stage.taken()
    assert (again.job_id, again.attempt, again.held) == ("a", 2, False)


async def test_who_submits_may_go_before_the_disk_has_answered(stage: Stage, disk: SlowDisk):
    coming = asyncio.create_task(stage.submit("a"))
    await stage.taken()
    coming.cancel()
    await asyncio.gather(coming, return_exceptions=True)
    disk.open()
    stage.engine.tell_finished("a")
    await stage.ear.until_ended("a")
    assert await stage.state_of("a") == "succeeded"


async def test_a_stop_waits_for_what_is_being_accepted(stage: Stage, disk: SlowDisk):
    coming = asyncio.create_task(stage.submit("a"))
    await stage.taken()
    stopping = asyncio.create_task(stage.dispatcher.stop())
    await settle()
    disk.open()
    await asyncio.gather(coming, stopping)
    assert [(job.id, job.attempts) for job in stage.store.pending()] == [("a", 0)]


async def test_an_interrupt_in_the_moment_of_acceptance_comes_after_the_start(stage: Stage):
    begin = stage.engine.begin

    def begin_and_stop(worker: str, job_id: str) -> None:
        begin(worker, job_id)
        stopped.append(stage.dispatcher.interrupt("a"))

    stopped: list[bool] = []
    stage.engine.begin = begin_and_stop  # type: ignore[method-assign]
    await stage.submit("a")
    assert stopped == [True]
    assert (stage.engine.begun, stage.engine.interrupts) == ([("w0", "a")], [("w0", "a", False)])
