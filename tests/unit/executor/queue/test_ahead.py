"""A worker has its next job while it writes the files of the last: for everybody else that job waits until its turn."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from executor.messages import Emit, Finishing
from executor.queue import ahead
from tests.unit.executor.queue.test_dispatcher import Stage


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    await stage.store.open()
    await stage.dispatcher.start()
    yield stage
    await stage.dispatcher.stop()
    await stage.store.close()


async def settle() -> None:
    """Let everything happen that needs no disk."""
    for _ in range(20):
        await asyncio.sleep(0)


async def both(stage: Stage, second: str = "b") -> None:
    """The worker writes the files of job a, and has the next one."""
    await stage.submit("a", client_id="me")
    await stage.taken()
    await stage.submit(second, client_id="me")
    stage.engine.tell(Finishing("a"))
    await stage.taken()


def order(stage: Stage) -> list[tuple[str, object]]:
    """What was told of jobs, in order: event and job."""
    told = [(event, data) for event, data, *_ in stage.ear.events if isinstance(data, dict) and "prompt_id" in data]
    return [(event if event != "executing" else f"executing {data['node']}", data["prompt_id"]) for event, data in told]


def waiting(stage: Stage) -> tuple[list[str], list[str]]:
    return [job.id for job in stage.store.running()], [job.id for job in stage.store.pending()]


async def test_nothing_is_given_before_every_node_has_run(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    await stage.submit("b")
    await settle()
    assert stage.engine.runs.empty()


async def test_the_next_job_is_given_as_a_first_attempt_and_waits_on(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    await stage.submit("b")
    stage.engine.tell(Finishing("a"))
    run = await stage.taken()
    assert (run.job_id, run.attempt, run.held) == ("b", 1, False)
    assert waiting(stage) == (["a"], ["b"])
    assert stage.store.remaining() == 2


async def test_a_job_that_comes_meanwhile_is_given_too(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    stage.engine.tell(Finishing("a"))
    await settle()
    await stage.submit("b")
    assert (await stage.taken()).job_id == "b"


async def test_one_job_is_given_ahead_at_most(stage: Stage):
    await both(stage)
    await stage.submit("c")
    await settle()
    assert stage.engine.runs.empty()


async def test_what_it_tells_is_heard_after_the_last_words_about_the_one_before(stage: Stage):
    await both(stage)
    stage.engine.tell_executing("b", "1")
    stage.engine.tell_executing("a", "9")
    await settle()
    assert order(stage) == [("executing 9", "a")]
    stage.engine.tell_finished("a")
    stage.engine.tell_executing("b", "2")
    stage.engine.tell_finished("b")
    await stage.ear.until_ended("b")
    assert order(stage) == [
        ("executing 9", "a"),
        ("execution_success", "a"),
        ("executing None", "a"),
        ("executing 1", "b"),
        ("executing 2", "b"),
        ("execution_success", "b"),
        ("executing None", "b"),
    ]


async def test_it_runs_once_the_one_before_has_ended(stage: Stage):
    await both(stage)
    stage.engine.tell_finished("a")
    await stage.ear.until_ended("a")
    assert waiting(stage) == (["b"], [])
    assert [running.job.attempts for running in stage.dispatcher.current()] == [1]


async def test_its_node_is_known_once_it_runs(stage: Stage):
    await both(stage)
    stage.engine.tell_executing("b", "1")
    stage.engine.tell_finished("a")
    await stage.ear.until_ended("a")
    assert [running.node_id for running in stage.dispatcher.current()] == ["1"]


async def test_a_chain_of_jobs_ends_in_order(stage: Stage):
    await both(stage)
    await stage.submit("c")
    stage.engine.tell_finished("a")
    stage.engine.tell(Finishing("b"))
    assert (await stage.taken()).job_id == "c"
    stage.engine.tell_finished("b")
    stage.engine.tell_finished("c")
    await stage.ear.until_ended("c")
    ends = [job for event, job in order(stage) if event == "execution_success"]
    assert (ends, stage.store.remaining()) == (["a", "b", "c"], 0)


async def test_a_job_of_the_same_id_is_not_given(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    await stage.submit("a")
    stage.engine.tell(Finishing("a"))
    await settle()
    assert stage.engine.runs.empty()
    stage.engine.tell_finished("a")
    assert (await stage.taken()).job_id == "a"


# ---------------------------------------------------------------- crashes


async def test_a_death_is_blamed_on_the_job_before_alone(stage: Stage):
    await both(stage)
    stage.engine.tell_executing("b", "1")
    stage.engine.tell_lost()
    stage.engine.tell_ready()
    run = await stage.taken()
    assert (run.job_id, run.attempt) == ("a", 2)
    stage.engine.tell_finished("a")
    run = await stage.taken()
    assert (run.job_id, run.attempt) == ("b", 1)
    assert not any(job == "b" for _, job in order(stage))


async def test_a_job_that_lost_a_worker_runs_alone(stage: Stage):
    await both(stage)
    stage.engine.tell_lost()
    stage.engine.tell_ready()
    await stage.taken()
    stage.engine.tell(Finishing("a"))
    await settle()
    assert stage.engine.runs.empty()


async def test_a_death_after_the_end_of_the_one_before_is_its_own(stage: Stage):
    await both(stage)
    stage.engine.tell_finished("a")
    stage.engine.tell_lost()
    stage.engine.tell_ready()
    run = await stage.taken()
    assert (run.job_id, run.attempt) == ("b", 2)
    assert await stage.state_of("a") == "succeeded"


async def test_a_worker_that_is_gone_costs_nothing(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    await stage.submit("b")
    stage.engine.refuse = True
    stage.engine.tell(Finishing("a"))
    await settle()
    stage.engine.tell_lost()
    stage.engine.tell_ready()
    assert (await stage.taken()).job_id == "a"
    stage.engine.tell_finished("a")
    run = await stage.taken()
    assert (run.job_id, run.attempt) == ("b", 1)


# ---------------------------------------------------------------- deleted, interrupted, stopped


async def test_a_deleted_one_stops_and_nobody_hears_of_it(stage: Stage):
    await both(stage)
    assert [job.id for job in await stage.dispatcher.delete(["b"])] == ["b"]
    stage.engine.tell_executing("b", "1")
    stage.engine.tell_finished("a")
    await stage.ear.until_ended("a")
    assert stage.engine.interrupts == [("w0", "b", False)]
    await stage.submit("c")
    await settle()
    assert stage.engine.runs.empty()
    stage.engine.tell_finished("b", "interrupted")
    assert (await stage.taken()).job_id == "c"
    assert (any(job == "b" for _, job in order(stage)), await stage.state_of("b")) == (False, None)


async def test_a_deleted_one_that_does_not_stop_costs_its_worker_once_the_one_before_has_ended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ahead, "GRACE_S", 0.0)
    await both(stage)
    await stage.dispatcher.delete(["b"])
    await settle()
    assert stage.engine.interrupts == [("w0", "b", False)]
    stage.engine.tell_finished("a")
    await stage.ear.until_ended("a")
    await settle()
    assert stage.engine.interrupts == [("w0", "b", False), ("w0", "b", True)]


async def test_a_deleted_one_that_stops_costs_nothing_later(stage: Stage):
    await both(stage)
    await stage.dispatcher.delete(["b"])
    stage.engine.tell_finished("a")
    await stage.ear.until_ended("a")
    assert "end of b" in {task.get_name() for task in asyncio.all_tasks()}
    stage.engine.tell_finished("b", "interrupted")
    await settle()
    assert "end of b" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_one_that_is_deleted_as_its_turn_comes_never_runs(stage: Stage):
    await both(stage)
    stage.engine.tell_finished("a")
    deleting = asyncio.create_task(stage.dispatcher.delete(["b"]))
    await stage.ear.until_ended("a")
    deleted = await deleting
    stage.engine.tell_finished("b", "interrupted" if deleted else "succeeded")
    await stage.submit("c")
    assert (await stage.taken()).job_id == "c"
    assert (await stage.state_of("b") is None) == bool(deleted)


async def test_a_cleared_queue_stops_it_and_a_death_leaves_nothing(stage: Stage):
    await both(stage)
    await stage.dispatcher.clear()
    stage.engine.tell_lost()
    stage.engine.tell_ready()
    assert (await stage.taken()).job_id == "a"
    assert waiting(stage) == (["a"], [])


async def test_an_interrupt_of_what_runs_is_the_one_befores(stage: Stage):
    await both(stage)
    assert stage.dispatcher.interrupt()
    assert not stage.dispatcher.interrupt("b")
    assert stage.engine.interrupts == [("w0", "a", False)]


async def test_an_interrupt_after_its_turn_is_its_own(stage: Stage):
    await both(stage)
    stage.engine.tell_finished("a")
    await stage.ear.until_ended("a")
    assert stage.dispatcher.interrupt("b")
    assert stage.engine.interrupts == [("w0", "b", False)]


async def test_a_forced_interrupt_ends_the_one_before_and_leaves_it_waiting(stage: Stage):
    await both(stage)
    stage.dispatcher.interrupt("a", force=True)
    stage.engine.tell_lost()
    stage.engine.tell_ready()
    run = await stage.taken()
    assert (run.job_id, run.attempt) == ("b", 1)
    assert await stage.state_of("a") == "interrupted"


async def test_a_stopped_one_whose_worker_dies_names_what_its_nodes_told(stage: Stage):
    await both(stage)
    data = json.dumps({"node": "1", "display_node": "1", "prompt_id": "a", "output": {"files": ["x"]}}).encode()
    stage.engine.tell(Emit(job_id="a", event="executed", data_json=data))
    stage.dispatcher.interrupt("a")
    stage.engine.tell_lost()
    await stage.ear.until_ended("a")
    entry = await stage.store.history_of("a")
    assert entry is not None
    assert (entry.result.state, json.loads(entry.result.outputs_json)) == ("interrupted", {"1": {"files": ["x"]}})


async def test_an_orderly_stop_leaves_it_waiting(stage: Stage):
    await both(stage)
    stopping = asyncio.create_task(stage.dispatcher.stop(5.0))
    await settle()
    stage.engine.tell_finished("a")
    await stopping
    assert (await stage.state_of("a"), waiting(stage)) == ("succeeded", ([], ["b"]))


# ---------------------------------------------------------------- what a worker knows of those that wait


async def test_a_worker_hears_of_a_job_that_waits_behind_its_own(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ahead, "NOTICE_S", 0.0)
    await stage.submit("a")
    assert (await stage.taken()).alone
    await stage.submit("b")
    await stage.submit("c")
    await settle()
    assert stage.engine.followed == [("w0", "a")]


async def test_a_worker_does_not_hear_of_a_job_that_waits_no_more(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ahead, "NOTICE_S", 0.0)
    await stage.submit("a")
    await stage.taken()
    await stage.submit("b")
    stage.engine.tell_finished("a")
    assert (await stage.taken()).alone
    await settle()
    assert stage.engine.followed == []


@pytest.mark.parametrize("others", [0, 1])
async def test_a_job_that_is_given_early_knows_whether_more_wait(stage: Stage, others: int):
    await stage.submit("a")
    await stage.taken()
    for name in ("b", "c")[: 1 + others]:
        await stage.submit(name)
    stage.engine.tell(Finishing("a"))
    assert (await stage.taken()).alone == (others == 0)


# ---------------------------------------------------------------- several workers


async def test_an_idle_worker_goes_before_one_that_writes():
    stage = Stage(workers=2)
    await stage.store.open()
    await stage.dispatcher.start()
    await stage.submit("a")
    first, _ = await stage.engine.runs.get()
    stage.engine.tell(Finishing("a"), first)
    await settle()
    await stage.submit("b")
    second, _ = await stage.engine.runs.get()
    assert second != first
    await stage.submit("c")
    assert (await stage.engine.runs.get())[0] == first
    await stage.dispatcher.stop()
    await stage.store.close()


async def test_what_packs_send_beside_it_passes(stage: Stage):
    await both(stage)
    stage.engine.tell(Emit(job_id="", event="other", data_json=b"{}"))
    await stage.ear.until(lambda: "other" in stage.ear.names())
    assert waiting(stage) == (["a"], ["b"])
