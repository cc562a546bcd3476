"""Limits of the dispatcher: how many wait, how long one runs; and an orderly stop takes nothing more."""

from __future__ import annotations

import asyncio
import json

import pytest

from executor.errors import NotReady, QueueFull
from executor.messages import Finished
from executor.queue import dispatcher as module
from executor.queue.dispatcher import Dispatcher, Limits
from executor.queue.job import HistoryEntry, Job, make_job
from executor.queue.store import Store
from tests.unit.executor.queue.fake_engine import FakeEngine


def job(prompt_id: str) -> Job:
    return make_job(prompt_id=prompt_id, number=0, prompt={"1": {"class_type": "Say"}}, targets=["1"])


class Stage:
    """A dispatcher with limits."""

    def __init__(self, **limits: float) -> None:
        self.store, self.engine = Store(), FakeEngine()
        self.dispatcher = Dispatcher(self.store, self.engine, lambda *args, **options: None, limits=Limits(**limits))

    async def __aenter__(self) -> Stage:
        await self.store.open()
        await self.dispatcher.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.dispatcher.stop()
        await self.store.close()

    async def ended(self, prompt_id: str) -> HistoryEntry:
        async with asyncio.timeout(60):
            while (entry := await self.store.history_of(prompt_id)) is None:
                await asyncio.sleep(0.001)
        return entry


def error_of(entry: HistoryEntry) -> dict:
    return json.loads(entry.result.messages_json)[-1][1]


async def test_as_many_wait_as_may_and_no_more():
    async with Stage(waiting=2) as stage:
        await stage.dispatcher.submit(job("runs"))
        await stage.engine.runs.get()
        for prompt_id in "ab":
            await stage.dispatcher.submit(job(prompt_id))
        with pytest.raises(QueueFull, match="2 prompts wait"):
            await stage.dispatcher.submit(job("c"))


async def test_prompts_that_come_together_do_not_pass_the_limit_together():
    async with Stage(waiting=2) as stage:
        stage.engine.states["w0"] = "busy"
        outcomes = await asyncio.gather(
            *(stage.dispatcher.submit(job(str(number))) for number in range(9)), return_exceptions=True
        )
        assert sum(isinstance(outcome, QueueFull) for outcome in outcomes) == 7
        assert len(stage.store.pending()) == 2


async def test_a_stopping_dispatcher_takes_nothing():
    stage = Stage()
    async with stage:
        pass
    with pytest.raises(NotReady, match="is stopping"):
        stage.dispatcher.require_room()


async def test_a_job_whose_time_is_up_is_asked_then_its_worker_ends(monkeypatch):
    monkeypatch.setattr(module, "OVERDUE_GRACE_S", 0.01)
    async with Stage(job_timeout_s=0.01) as stage:
        await stage.dispatcher.submit(job("late"))
        await stage.engine.runs.get()
        async with asyncio.timeout(60):
            while len(stage.engine.interrupts) < 2:
                await asyncio.sleep(0.001)
        assert [force for _, _, force in stage.engine.interrupts] == [False, True]
        stage.engine.tell_lost()
        entry = await stage.ended("late")
    assert (entry.result.state, entry.job.attempts) == ("failed", 1)
    assert error_of(entry)["exception_type"] == "executor.errors.JobTimeout"


async def test_a_job_that_stops_when_asked_keeps_what_it_made():
    async with Stage(job_timeout_s=0.01) as stage:
        await stage.dispatcher.submit(job("late"))
        await stage.engine.runs.get()
        async with asyncio.timeout(60):
            while not stage.engine.interrupts:
                await asyncio.sleep(0.001)
        outputs = b'{"1": {"text": ["half"]}}'
        stage.engine.tell(
            Finished(job_id="late", state="interrupted", outputs_json=outputs, meta_json=b"{}", messages_json=b"[]")
        )
        entry = await stage.ended("late")
    assert (entry.result.state, entry.result.outputs_json) == ("failed", outputs)


async def test_a_job_that_ends_in_time_is_not_disturbed():
    async with Stage(job_timeout_s=30.0) as stage:
        await stage.dispatcher.submit(job("quick"))
        await stage.engine.runs.get()
        stage.engine.tell_finished("quick")
        await stage.ended("quick")
        watches = [task for task in asyncio.all_tasks() if task.get_name() == "time of quick"]
        await asyncio.gather(*watches, return_exceptions=True)
    assert stage.engine.interrupts == []


async def test_a_job_whose_end_is_being_stored_is_not_interrupted():
    async with Stage() as stage:
        await stage.dispatcher.submit(job("done"))
        await stage.engine.runs.get()
        running = stage.dispatcher._running["w0"]
        running.ending = True
        assert not stage.dispatcher.interrupt("done")
        running.ending = False
        assert stage.dispatcher.interrupt("done")
