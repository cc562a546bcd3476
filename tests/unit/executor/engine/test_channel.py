"""States of workers, questions and messages, with workers played over a connection without sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from executor.engine.base import EngineMessage, WorkerLost
from executor.engine.channel import ChannelEngine, Slot
from executor.engine.wire import Wire
from executor.errors import BadInput, NotReady, WorkerCrashed
from executor.messages import (
    Answer,
    Ask,
    Device,
    Emit,
    Finished,
    FromWorker,
    Ready,
    Reply,
    Run,
    Stats,
    decode_to_worker,
    frame,
)
from executor.settings import Settings

PATIENCE_S = 60.0


class Pipe(asyncio.Transport):
    """The writing end of a channel: what is written is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.written: asyncio.Queue[bytes] = asyncio.Queue()

    def write(self, data: bytes) -> None:
        self.written.put_nowait(data)


class PlayedEngine(ChannelEngine):
    """An engine whose one worker is the test: `say` is the worker's word, `hang_up` its end."""

    def __init__(self) -> None:
        super().__init__(Settings(), loader="", backoff_s=(0.0, 0.0))
        self.births: asyncio.Queue[Wire] = asyncio.Queue()
        self.heard: list[tuple[str, EngineMessage]] = []

    async def start(self) -> None:
        self._start_keepers(lambda worker, message: self.heard.append((worker, message)))

    async def stop(self) -> None:
        self._stopping = True
        await self._stop_keepers(0)

    async def _live(self, slot: Slot) -> str:
        self.wire, self.pipe = Wire(lambda wire, body: self._take(slot, body)), Pipe()
        self.wire.connection_made(self.pipe)
        self.births.put_nowait(self.wire)
        await self._listen(slot, self.wire)
        return "hung up"

    def _kill(self, slot: Slot) -> bool:
        return False

    def say(self, *messages: FromWorker) -> None:
        self.wire.feed(b"".join(frame(message) for message in messages))

    async def die(self) -> None:
        """Hang up, and be born again."""
        self.wire.connection_lost(None)
        await self.births.get()

    async def asked(self) -> Ask:
        message = decode_to_worker((await self.pipe.written.get())[4:])
        assert isinstance(message, Ask)
        return message


@pytest.fixture
async def engine() -> AsyncIterator[PlayedEngine]:
    engine = PlayedEngine()
    await engine.start()
    await engine.births.get()
    async with asyncio.timeout(PATIENCE_S):
        yield engine
    await engine.stop()


READY = Ready(definitions=(), wire_json=b"{}", devices=(), torch_version="2.13.0")
DONE = Finished(job_id="a", state="succeeded", outputs_json=b"{}", meta_json=b"{}", messages_json=b"[]")
RUN = Run(job_id="a", prompt_json=b"{}", targets=())


def state(engine: PlayedEngine) -> str:
    return engine.workers()[0].state


async def test_a_worker_is_idle_once_ready_and_busy_with_a_job(engine: PlayedEngine):
    states = [state(engine)]
    engine.say(READY)
    states.append(state(engine))
    engine.run("worker-0", RUN)
    states.append(state(engine))
    engine.say(DONE)
    states.append(state(engine))
    assert states == ["starting", "idle", "busy", "idle"]


async def test_messages_keep_their_order(engine: PlayedEngine):
    engine.say(READY, *(Emit(job_id=str(number), event="e", data_json=b"{}") for number in range(5)))
    assert [message.job_id for _, message in engine.heard if isinstance(message, Emit)] == list("01234")


async def test_devices_follow_what_the_worker_tells(engine: PlayedEngine):
    device = Device(name="x", type="cuda", index=0, vram_total=2, vram_free=1, torch_vram_total=0, torch_vram_free=0)
    engine.say(Stats(devices=(device,)))
    assert engine.workers()[0].devices == (device,)


async def test_the_ready_of_a_dead_worker_does_not_make_its_successor_idle(engine: PlayedEngine):
    engine.say(READY)
    await engine.die()
    assert [message for _, message in engine.heard] == [READY, WorkerLost("hung up")]
    assert state(engine) == "starting"


async def test_a_success_forgives_the_crashes(engine: PlayedEngine):
    await engine.die()
    assert engine.workers()[0].crashes == 1
    engine.say(READY, DONE)
    assert engine.workers()[0].crashes == 0


async def test_a_job_for_a_worker_that_is_gone_is_refused(engine: PlayedEngine):
    engine._slots["worker-0"].wire = None
    with pytest.raises(WorkerCrashed):
        engine.run("worker-0", RUN)


async def test_without_a_ready_worker_a_question_is_refused(engine: PlayedEngine):
    with pytest.raises(NotReady):
        await engine.ask("describe", b"[]")


def make_ready(engine: PlayedEngine) -> None:
    engine.say(READY)


async def test_answers_find_their_questions(engine: PlayedEngine):
    make_ready(engine)
    first = asyncio.ensure_future(engine.ask("describe", b"1"))
    second = asyncio.ensure_future(engine.ask("describe", b"2"))
    asked = [await engine.asked(), await engine.asked()]
    engine.say(*(Answer(id=question.id, value_json=question.body_json) for question in reversed(asked)))
    assert await asyncio.gather(first, second) == [b"1", b"2"]


async def test_a_complaint_is_raised(engine: PlayedEngine):
    make_ready(engine)
    question = asyncio.ensure_future(engine.ask("describe", b"1"))
    engine.say(Answer(id=(await engine.asked()).id, error="no such class"))
    with pytest.raises(BadInput, match="no such class"):
        await question


async def test_a_question_to_a_dying_worker_ends_with_the_reason(engine: PlayedEngine):
    make_ready(engine)
    question = asyncio.ensure_future(engine.ask("describe", b"1"))
    await engine.asked()
    await engine.die()
    with pytest.raises(WorkerCrashed, match="hung up"):
        await question


async def test_the_worker_that_is_named_is_asked(engine: PlayedEngine):
    make_ready(engine)
    question = asyncio.ensure_future(engine.ask("prompt_hook", b"1", worker="worker-0"))
    engine.say(Answer(id=(await engine.asked()).id, value_json=b"2"))
    assert await question == b"2"


async def test_a_named_worker_that_is_not_ready_is_said_so(engine: PlayedEngine):
    with pytest.raises(NotReady, match="worker-0"):
        await engine.ask("prompt_hook", b"1", worker="worker-0")


async def test_a_wish_is_answered_to_its_worker(engine: PlayedEngine):
    engine.reply("worker-0", Reply(id=4, value_json=b"[]"))
    assert decode_to_worker((await engine.pipe.written.get())[4:]) == Reply(id=4, value_json=b"[]")


async def test_an_answer_to_a_worker_that_is_gone_is_dropped(engine: PlayedEngine):
    engine._slots["worker-0"].wire = None
    engine.reply("worker-0", Reply(id=4))


async def test_a_worker_that_says_it_leaves_gets_no_job_any_more(engine: PlayedEngine):
    engine.say(READY, structs.replace(DONE, leaves=True))
    assert state(engine) == "dead"
    with pytest.raises(WorkerCrashed):
        engine.run("worker-0", RUN)


async def test_a_worker_that_has_the_next_job_already_stays_busy_until_that_ends(engine: PlayedEngine):
    engine.say(READY)
    engine.run("worker-0", RUN)
    engine.run("worker-0", structs.replace(RUN, job_id="b"))
    engine.say(DONE)
    assert state(engine) == "busy"
    engine.say(structs.replace(DONE, job_id="b"))
    assert state(engine) == "idle"


async def test_a_worker_that_was_killed_gets_no_job_though_it_finished_its_last(engine: PlayedEngine, monkeypatch):
    engine.say(READY)
    engine.run("worker-0", RUN)
    monkeypatch.setattr(engine, "_kill", lambda slot: True)
    engine.interrupt("worker-0", "a", force=True)
    engine.say(DONE)
    assert state(engine) == "dead"
    monkeypatch.undo()
    await engine.die()
    engine.say(READY)
    assert state(engine) == "idle"
