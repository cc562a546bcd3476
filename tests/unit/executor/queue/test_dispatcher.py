"""Who gets which job, what clients hear and in which order, and that nothing is lost when workers go away."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from executor.errors import BadInput
from executor.messages import Blob, Emit, LogLine, Packs, Refreshed, Request, Run
from executor.queue import dispatcher, ends
from executor.queue.dispatcher import Dispatcher
from executor.queue.ears import Ears
from executor.queue.job import PROMPT_ID, Job, Result, make_job
from executor.queue.store import Store
from tests.unit.executor.queue.fake_engine import FakeEngine


class Ear:
    """Hears what is published; `until` waits for it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object, str, str | None]] = []
        self.blobs: list[Blob] = []
        self._news = asyncio.Event()

    def publish(self, event, data, *, audience, client_id=None, job_id=None, owner="") -> None:
        value = json.loads(data) if isinstance(data, bytes) else data
        self.events.append((event, value, audience, client_id))
        self._news.set()

    def publish_blob(self, blob: Blob) -> None:
        self.blobs.append(blob)
        self._news.set()

    def names(self) -> list[str]:
        return [event for event, *_ in self.events]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_ended(self, job_id: str) -> None:
        done = {"node": None, "prompt_id": job_id}
        await self.until(lambda: any(event == "executing" and data == done for event, data, *_ in self.events))


class Stage:
    """A dispatcher between a store in memory and a played engine."""

    def __init__(self, workers: int = 1, **ears: object) -> None:
        self.store = Store()
        self.engine = FakeEngine(workers)
        self.ear = Ear()
        self.dispatcher = Dispatcher(
            self.store, self.engine, self.ear.publish, self.ear.publish_blob, ears=Ears(**ears)
        )

    async def submit(self, prompt_id: str, number: float = 0, **extra: object) -> Job:
        prompt = {"1": {"class_type": "Say", "inputs": {}}}
        return await self.dispatcher.submit(
            make_job(prompt_id=prompt_id, number=number, prompt=prompt, targets=["1"], extra_data=extra)
        )

    async def taken(self) -> Run:
        async with asyncio.timeout(60):
            return (await self.engine.runs.get())[1]

    async def state_of(self, prompt_id: str) -> str | None:
        entry = await self.store.history_of(prompt_id)
        return entry.result.state if entry else None

    async def messages_of(self, prompt_id: str) -> list[list[object]]:
        entry = await self.store.history_of(prompt_id)
        assert entry is not None
        return json.loads(entry.result.messages_json)


async def _open(stage: Stage) -> Stage:
    await stage.store.open()
    await stage.dispatcher.start()
    return stage


@pytest.fixture
async def stage():
    opened = await _open(Stage())
    yield opened
    await opened.dispatcher.stop()
    await opened.store.close()


@pytest.fixture
async def stage_of_two():
    opened = await _open(Stage(workers=2))
    yield opened
    await opened.dispatcher.stop()
    await opened.store.close()


async def test_a_job_reaches_the_worker_with_all_it_needs(stage: Stage):
    await stage.submit("a", client_id="me", api_key_comfy_org="K")
    run = await stage.taken()
    assert (run.job_id, run.client_id, run.targets, run.attempt) == ("a", "me", ("1",), 1)
    assert (json.loads(run.extra_json), json.loads(run.secrets_json)) == (
        {"client_id": "me"},
        {"api_key_comfy_org": "K"},
    )


async def test_the_last_words_come_in_order_after_the_row(stage: Stage):
    await stage.submit("a", client_id="me")
    await stage.taken()
    rows: list[str | None] = []
    hear = stage.ear.publish

    def publish(event, data, **rest) -> None:
        if event == "execution_success":
            rows.append("gone" if stage.store.remaining() == 0 else "still there")
        hear(event, data, **rest)

    stage.dispatcher._endings._publish = publish
    stage.engine.tell_finished("a")
    await stage.ear.until_ended("a")
    assert rows == ["gone"]
    assert stage.ear.names() == ["status", "status", "execution_success", "status", "executing"]


async def test_status_counts_waiting_and_running(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    await stage.submit("b")
    counts = [data["status"]["exec_info"]["queue_remaining"] for event, data, *_ in stage.ear.events]
    assert counts == [1, 1, 2]


async def test_the_owner_hears_the_end_and_the_others_the_status(stage: Stage):
    await stage.submit("a", client_id="me")
    await stage.taken()
    stage.engine.tell_finished("a")
    await stage.ear.until_ended("a")
    heard = {event: (audience, client) for event, _, audience, client in stage.ear.events}
    assert heard == {
        "status": ("all", None),
        "execution_success": ("owner", "me"),
        "executing": ("owner", "me"),
    }


async def test_an_interruption_without_owner_is_told_to_all(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    stage.engine.tell_finished("a", "interrupted")
    await stage.ear.until_ended("a")
    assert ("execution_interrupted", {"prompt_id": "a"}, "owner_or_all", None) in stage.ear.events


async def test_events_and_pictures_pass_through(stage: Stage):
    stage.engine.tell(Emit(job_id="a", event="x", data_json=b'{"n": NaN}', audience="all"))
    stage.engine.tell(Blob(job_id="a", kind="text", node_id="1", body=b"hello"))
    await stage.ear.until(lambda: stage.ear.blobs)
    assert stage.ear.names() == ["x"]


async def test_log_lines_of_workers_are_logged(stage: Stage, caplog: pytest.LogCaptureFixture):
    told = LogLine(time_s=5, level="WARNING", logger="pack.x", text="100% odd", exception="Traceback", job_id="p")
    stage.engine.tell(told)
    stage.engine.tell(Blob(job_id="", kind="text", node_id="1"))
    await stage.ear.until(lambda: stage.ear.blobs)
    (record,) = [record for record in caplog.records if record.name == "pack.x"]
    assert (record.getMessage(), record.exc_text, record.created) == ("100% odd", "Traceback", 5)
    assert getattr(record, PROMPT_ID) == "p"


async def test_one_job_at_a_time_and_the_next_after_the_last_word(stage: Stage):
    await stage.submit("a")
    await stage.submit("b")
    await stage.taken()
    assert stage.engine.runs.empty()
    stage.engine.tell_finished("a")
    assert (await stage.taken()).job_id == "b"
    stage.engine.tell_executing("b", "1")
    stage.engine.tell_finished("b")
    await stage.ear.until_ended("b")
    a, b = [data for event, data, *_ in stage.ear.events if event == "executing"][:2]
    assert (a, b["prompt_id"]) == ({"node": None, "prompt_id": "a"}, "b")


@dataclass
class SlowDisk:
    """Lets no end be stored before `room`."""

    room: asyncio.Event

    def slow(self, finish):
        async def slow_finish(job: Job, result: Result, stored: Callable[[], None]) -> bool:
            await self.room.wait()
            return await finish(job, result, stored)

        return slow_finish


@pytest.fixture
def slow_disk(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    disk = SlowDisk(asyncio.Event())
    monkeypatch.setattr(stage.store, "finish", disk.slow(stage.store.finish))
    return disk


async def test_a_worker_gets_its_next_job_while_the_end_of_the_last_is_written(stage: Stage, slow_disk: SlowDisk):
    await stage.submit("a", client_id="me")
    await stage.submit("b", client_id="me")
    await stage.taken()
    stage.engine.tell_finished("a")
    assert (await stage.taken()).job_id == "b"
    stage.engine.tell_executing("b", "1")
    stage.engine.tell_finished("b")
    stage.engine.tell(LogLine(time_s=0, level="INFO", logger="x", text="heard at once"))
    await asyncio.sleep(0.01)
    told = len(stage.ear.names())
    assert stage.dispatcher.interrupt("a") is False, "its end is being stored"
    assert {running.job.id for running in stage.dispatcher.current()} == {"b"}
    assert stage.engine.runs.empty()
    slow_disk.room.set()
    await stage.ear.until_ended("b")
    ends = ["execution_success", "status", "executing"]
    assert stage.ear.names()[told:] == [*ends, "status", "executing", *ends], "b is told after the last word about a"


async def test_who_waits_for_a_prompt_hears_what_was_told_while_its_end_is_stored_if_there_is_time():
    ending: list[str] = []
    async with played(ending=lambda job: ending.append(job.id)) as stage:
        for name in ("a", "b"):
            await stage.submit(name)
        for name in ("a", "b"):
            await stage.taken()
            stage.engine.tell_finished(name)
            await stage.ear.until_ended(name)
        assert ending == ["b"], "another waits behind the first"


async def test_a_worker_lost_with_its_next_job_is_heard_after_the_end_of_the_last(stage: Stage, slow_disk: SlowDisk):
    await stage.submit("a")
    await stage.submit("b")
    await stage.taken()
    stage.engine.tell_finished("a")
    assert (await stage.taken()).job_id == "b"
    stage.engine.tell_lost()
    stage.engine.tell_ready()
    await asyncio.sleep(0.01)
    assert stage.store.pending() == []
    slow_disk.room.set()
    run = await stage.taken()
    assert (run.job_id, run.attempt) == ("b", 2)
    assert await stage.state_of("a") == "succeeded"


async def test_a_stop_waits_for_an_end_that_is_being_stored(stage: Stage, slow_disk: SlowDisk):
    await stage.submit("a")
    await stage.taken()
    stage.engine.tell_finished("a")
    while not stage.dispatcher._ends:
        await asyncio.sleep(0)
    stopping = asyncio.create_task(stage.dispatcher.stop(5.0))
    await asyncio.sleep(0.01)
    assert not stopping.done()
    slow_disk.room.set()
    await stopping
    assert await stage.state_of("a") == "succeeded"


async def test_two_workers_run_two_jobs(stage_of_two: Stage):
    await stage_of_two.submit("a")
    await stage_of_two.submit("b")
    assert {(await stage_of_two.taken()).job_id, (await stage_of_two.taken()).job_id} == {"a", "b"}


async def test_without_a_worker_jobs_wait_until_one_is_ready(stage: Stage):
    stage.engine.states["w0"] = "starting"
    await stage.submit("a")
    assert stage.engine.runs.empty()
    stage.engine.tell_ready()
    assert (await stage.taken()).job_id == "a"


# ---------------------------------------------------------------- interrupts


async def test_an_interrupt_reaches_what_runs(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    assert stage.dispatcher.interrupt()
    assert stage.engine.interrupts == [("w0", "a", False)]


async def test_an_interrupt_of_another_prompt_does_nothing(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    assert not stage.dispatcher.interrupt("b")
    assert stage.engine.interrupts == []


async def test_an_interrupt_between_claim_and_start_is_not_lost(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    async def interrupted(jobs: Sequence[Job]) -> None:
        stage.dispatcher.interrupt("a")
        stage.engine.interrupts.clear()  # the worker does not know the job yet

    monkeypatch.setattr(stage.dispatcher._litter, "tidy", interrupted)
    stage.engine.states["w0"] = "starting"
    await stage.submit("a")
    stage.engine.tell_ready()
    await stage.taken()
    await asyncio.sleep(0)
    assert stage.engine.interrupts == [("w0", "a", False)]


async def test_a_worker_that_dies_of_an_interrupt_ends_the_job_as_interrupted(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    stage.dispatcher.interrupt(force=True)
    stage.engine.tell_lost()
    await stage.ear.until_ended("a")
    assert await stage.state_of("a") == "interrupted"


async def test_an_interrupt_does_not_hit_the_next_job_of_the_same_id(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    stage.dispatcher.interrupt("a")
    stage.engine.tell_finished("a", "interrupted")
    await stage.submit("a")
    await stage.taken()
    await asyncio.sleep(0)
    assert len(stage.engine.interrupts) == 1


# ---------------------------------------------------------------- crashes


async def test_the_job_of_a_dead_worker_runs_again_first(stage: Stage):
    await stage.submit("a", 5)
    await stage.taken()
    await stage.submit("b", -5)
    stage.engine.tell_lost()
    stage.engine.tell_ready()
    run = await stage.taken()
    assert (run.job_id, run.attempt) == ("a", 2)


async def test_a_second_crash_ends_the_job_with_the_reason_and_the_node(stage: Stage, caplog: pytest.LogCaptureFixture):
    await stage.submit("a")
    for _ in range(2):
        await stage.taken()
        stage.engine.tell_executing("a", "1")
        stage.engine.tell_lost()
        stage.engine.tell_ready()
    await stage.ear.until_ended("a")
    event, data = (await stage.messages_of("a"))[-1]
    assert isinstance(data, dict)
    assert (event, data["node_id"], data["node_type"]) == ("execution_error", "1", "Say")
    assert "SIGKILL" in data["exception_message"]
    assert data["exception_type"].endswith("WorkerCrashed")
    assert f"failed: {data['exception_message']}" in caplog.text


async def test_each_job_has_one_terminal_event_through_crashes(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    stage.engine.tell_lost()
    stage.engine.tell_ready()
    await stage.taken()
    stage.engine.tell_finished("a")
    stage.engine.tell_finished("a")
    stage.engine.tell_lost()
    await stage.ear.until_ended("a")
    assert sum(name in ("execution_success", "execution_error") for name in stage.ear.names()) == 1


async def test_a_worker_that_went_away_before_the_job_costs_no_attempt(stage: Stage):
    stage.engine.refuse = True
    await stage.submit("a")
    assert (await stage.taken()).attempt == 1


async def test_the_loss_of_an_idle_worker_changes_nothing(stage: Stage):
    stage.engine.tell_lost()
    stage.engine.tell_ready()
    await stage.submit("a")
    assert (await stage.taken()).attempt == 1


# ---------------------------------------------------------------- the rest


async def test_delete_and_clear_tell_the_status(stage: Stage):
    for prompt_id in "abc":
        await stage.submit(prompt_id)
    await stage.taken()
    await stage.dispatcher.delete(["b"])
    await stage.dispatcher.clear()
    counts = [data["status"]["exec_info"]["queue_remaining"] for _, data, *_ in stage.ear.events]
    assert counts[-2:] == [2, 1]


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"models": True, "cache": False}, [(True, False)]),
        ({"models": False, "cache": True}, [(True, True)]),
        ({"models": False, "cache": False}, []),
    ],
)
async def test_freeing_the_cache_unloads_models_too(stage: Stage, wish, told):
    stage.dispatcher.free(**wish)
    assert stage.engine.freed == told


async def test_current_knows_the_node_told_last(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    stage.engine.tell_executing("a", "7")
    await stage.ear.until(lambda: "executing" in stage.ear.names())
    assert [(running.job.id, running.node_id) for running in stage.dispatcher.current()] == [("a", "7")]


async def test_a_full_disk_delays_the_end_and_announces_nothing_early(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ends, "DISK_WAIT_S", (0.0, 0.0))
    monkeypatch.setattr(dispatcher, "CLAIM_PAUSE_S", 0.0)
    finish, failures = stage.store.finish, iter([True, True])

    async def full(job: Job, result: Result, stored: Callable[[], None]) -> bool:
        if next(failures, False):
            assert "execution_success" not in stage.ear.names()
            raise sqlite3.OperationalError("database or disk is full")
        return await finish(job, result, stored)

    monkeypatch.setattr(stage.store, "finish", full)
    await stage.submit("a")
    await stage.taken()
    stage.engine.tell_finished("a")
    await stage.ear.until_ended("a")
    assert await stage.state_of("a") == "succeeded"


async def test_an_orderly_stop_lets_the_running_job_end(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    stopping = asyncio.ensure_future(stage.dispatcher.stop(drain_timeout_s=5))
    stage.engine.tell_finished("a")
    await stopping
    assert await stage.state_of("a") == "succeeded"


async def test_an_orderly_stop_puts_back_what_takes_too_long(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    await stage.dispatcher.stop(drain_timeout_s=0)
    assert [(job.id, job.attempts) for job in stage.store.pending()] == [("a", 0)]


async def test_a_stopping_dispatcher_gives_no_more_jobs(stage: Stage):
    await stage.submit("a")
    await stage.taken()
    await stage.submit("b")
    stopping = asyncio.ensure_future(stage.dispatcher.stop(drain_timeout_s=5))
    await asyncio.sleep(0)
    stage.engine.tell_finished("a")
    await stopping
    assert [job.id for job in stage.store.pending()] == ["b"]


# ---------------------------------------------------------------- packs


@asynccontextmanager
async def played(workers: int = 1, **ears: object) -> AsyncIterator[Stage]:
    opened = await _open(Stage(workers, **ears))
    try:
        yield opened
    finally:
        await opened.dispatcher.stop()
        await opened.store.close()


async def test_what_workers_tell_of_themselves_is_handed_on():
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    ears = {
        "ready": lambda worker, told: heard.put_nowait(("ready", worker)),
        "refreshed": lambda worker, told: heard.put_nowait(("refreshed", worker)),
        "lost": lambda worker: heard.put_nowait(("lost", worker)),
    }
    async with played(**ears) as stage:
        stage.engine.tell_ready()
        stage.engine.tell(Refreshed(definitions=(), wire_json=b"{}", packs=Packs()))
        stage.engine.tell_lost()
        async with asyncio.timeout(60):
            assert [await heard.get() for _ in range(3)] == [("ready", "w0"), ("refreshed", "w0"), ("lost", "w0")]


async def test_tied_job_waits_for_the_first_worker_and_the_next_one_does_not():
    async with played(2, is_tied=lambda job: job.id.startswith("tied")) as stage:
        await stage.submit("tied-1")
        await stage.submit("tied-2")
        await stage.submit("free")
        async with asyncio.timeout(60):
            taken = {(worker, run.job_id) for worker, run in [await stage.engine.runs.get() for _ in range(2)]}
        assert taken == {("w0", "tied-1"), ("w1", "free")}
        stage.engine.tell_finished("tied-1")
        assert (await stage.taken()).job_id == "tied-2"


async def test_with_one_worker_no_job_is_tied():
    async with played(1, is_tied=lambda job: 1 / 0) as stage:
        await stage.submit("a")
        assert (await stage.taken()).job_id == "a"


async def meet(request: Request) -> bytes:
    if request.wish == "delete":
        raise BadInput("not that")
    if request.wish == "enqueue":
        raise ZeroDivisionError
    return request.body_json


@pytest.mark.parametrize(
    ("wish", "answer"),
    [("queue", (b"5", None)), ("delete", (b"null", "not that")), ("enqueue", (b"null", "ZeroDivisionError: "))],
)
async def test_wish_of_a_pack_is_always_answered(wish, answer):
    async with played(request=meet) as stage:
        stage.engine.tell(Request(id=3, wish=wish, body_json=b"5"))
        async with asyncio.timeout(60):
            worker, reply = await stage.engine.replies.get()
        assert (worker, reply.id, (reply.value_json, reply.error)) == ("w0", 3, answer)


async def test_wishes_of_a_worker_are_met_in_their_order():
    go_on = asyncio.Event()

    async def meet_slowly(request: Request) -> bytes:
        if request.id == 1:
            await go_on.wait()
        return b"null"

    async with played(request=meet_slowly) as stage:
        for number in (1, 2):
            stage.engine.tell(Request(id=number, wish="queue"))
        stage.engine.tell(Blob(job_id="", kind="text", node_id="1"))
        await stage.ear.until(lambda: stage.ear.blobs)
        go_on.set()
        async with asyncio.timeout(60):
            assert [(await stage.engine.replies.get())[1].id for _ in range(2)] == [1, 2]


async def test_worker_that_ended_is_not_answered():
    met = asyncio.Event()

    async def never(request: Request) -> bytes:
        met.set()
        await asyncio.Event().wait()
        return b""

    async with played(request=never) as stage:
        stage.engine.tell(Request(id=1, wish="queue"))
        await asyncio.wait_for(met.wait(), 5)
        stage.engine.tell_lost()
        stage.engine.tell(Blob(job_id="", kind="text", node_id="1"))
        await stage.ear.until(lambda: stage.ear.blobs)
        await asyncio.sleep(0)
        assert not stage.dispatcher._requests.open()


@pytest.mark.parametrize("data", [b"[1]", b'{"node": "9"}'])
async def test_executing_of_a_pack_is_not_taken_for_the_prompts(stage: Stage, data):
    await stage.submit("a")
    await stage.taken()
    stage.engine.tell_executing("a", "1")
    stage.engine.tell(Emit(job_id="", event="executing", data_json=data, audience="all"))
    await stage.ear.until(lambda: stage.ear.names().count("executing") == 2)
    assert [running.node_id for running in stage.dispatcher.current()] == ["1"]


async def test_a_claim_that_breaks_leaves_the_worker_free(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    claim, tries = stage.store.claim, 0

    def breaking(worker: str, row: int | None = None) -> Job | None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RuntimeError("odd")
        return claim(worker, row)

    monkeypatch.setattr(stage.store, "claim", breaking)
    monkeypatch.setattr(ends, "DISK_WAIT_S", (0.0, 0.0))
    monkeypatch.setattr(dispatcher, "CLAIM_PAUSE_S", 0.0)
    stage.engine.states["w0"] = "starting"
    await stage.submit("a")
    stage.engine.tell_ready()
    assert (await stage.taken()).job_id == "a"


async def test_an_end_that_cannot_be_told_is_logged_and_frees_the_worker(
    stage: Stage, caplog: pytest.LogCaptureFixture
):
    def broken(*told: object, **rest: object) -> None:
        raise RuntimeError("nobody hears")

    await stage.submit("a")
    await stage.taken()
    endings = stage.dispatcher._endings
    publish, endings._publish = endings._publish, broken
    stage.engine.tell_finished("a")
    async with asyncio.timeout(60):
        while stage.dispatcher._running or stage.dispatcher._ends:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    endings._publish = publish
    assert "end a failed" in caplog.text
    await stage.submit("b")
    assert (await stage.taken()).job_id == "b"
