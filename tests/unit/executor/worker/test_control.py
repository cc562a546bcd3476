"""The worker's end of the channel, spoken to over a pair of sockets."""

import os
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from executor.errors import BadInput, Interrupted, NotReady
from executor.messages import (
    HEADER,
    Answer,
    Ask,
    Begin,
    Emit,
    Finished,
    Followed,
    Free,
    FromWorker,
    Interrupt,
    Reply,
    Request,
    Run,
    Stop,
    ToWorker,
    decode_from_worker,
    frame,
)
from executor.outbox import SIZE, Outbox, shared_memory
from executor.worker.control import Control, Job

PATIENCE_S = 60.0


class Line:
    """A control with the front's end of its channel in hand."""

    def __init__(self) -> None:
        self.front, theirs = socket.socketpair()
        self.front.settimeout(PATIENCE_S)
        self._reader = self.front.makefile("rb")
        self.codes: list[int] = []
        self.ended = threading.Event()
        self.control = Control(theirs, self._end)
        self.control.start()

    def _end(self, code: int) -> None:
        self.codes.append(code)
        self.ended.set()

    def say(self, *messages: ToWorker) -> None:
        self.front.sendall(b"".join(frame(message) for message in messages))

    def hear(self) -> FromWorker:
        (length,) = HEADER.unpack(self._reader.read(HEADER.size))
        return decode_from_worker(self._reader.read(length))

    def hang_up(self) -> None:
        self._reader.close()
        self.front.close()

    def job(self) -> object:
        return self.control.jobs.get(timeout=PATIENCE_S)


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.control.close()
    line.hang_up()


def run(job_id: str = "a") -> Run:
    return Run(job_id=job_id, prompt_json=b"{}", targets=())


def finished(job_id: str = "a") -> Finished:
    return Finished(job_id=job_id, state="succeeded", outputs_json=b"{}", meta_json=b"{}", messages_json=b"[]")


def test_work_arrives_in_order(line: Line):
    line.say(run("a"), Free(models=True, cache=False), run("b"))
    jobs = [line.job() for _ in range(3)]
    assert [job.run.job_id if isinstance(job, Job) else job for job in jobs] == ["a", Free(True, False), "b"]


def test_an_interrupt_raises_the_flag_of_its_job_only(line: Line):
    line.say(run("a"), run("b"), Interrupt("b"), Free(False, False))
    first, second, _ = line.job(), line.job(), line.job()
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    assert (first.flag.is_set(), second.flag.is_set()) == (False, True)


def test_an_interrupt_after_the_end_is_forgotten(line: Line):
    line.say(run("a"))
    line.job()
    line.control.send(finished("a"))
    line.hear()
    line.say(Interrupt("a"), run("a"))
    job = line.job()
    assert isinstance(job, Job)
    assert not job.flag.is_set()


def test_a_held_job_is_allowed_by_its_begin_only(line: Line):
    line.say(Run(job_id="a", prompt_json=b"{}", targets=(), held=True), run("b"), Begin("b"))
    held, free = line.job(), line.job()
    waiting = threading.Thread(target=held.flag.wait_allowed, daemon=True)
    waiting.start()
    free.flag.wait_allowed()
    waiting.join(0.02)
    assert waiting.is_alive()
    line.say(Begin("a"), Begin("unknown"))
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive()


def test_the_job_that_another_one_waits_behind_is_known(line: Line):
    line.say(run("a"), Followed("a"), run("b"))
    line.control.jobs.get(timeout=5.0)
    line.control.jobs.get(timeout=5.0)
    assert line.control.followed == "a"


def test_a_held_job_waits_no_longer_than_the_front_is_there(line: Line):
    line.say(Run(job_id="a", prompt_json=b"{}", targets=(), held=True))
    job = line.job()
    line.hang_up()
    with pytest.raises(Interrupted):
        job.flag.wait_allowed()


def test_messages_leave_in_order(line: Line):
    for number in range(100):
        line.control.send(Emit(job_id=str(number), event="e", data_json=b"{}"))
    heard = [line.hear() for _ in range(100)]
    assert [message.job_id for message in heard if isinstance(message, Emit)] == [str(n) for n in range(100)]


@pytest.fixture
def collecting(line: Line, monkeypatch: pytest.MonkeyPatch) -> Line:
    """A line that holds messages back, until something is sent or they are let go."""
    monkeypatch.setattr("executor.worker.outgoing.HOLD_S", 3600.0)
    memory = shared_memory()
    if memory is None:
        pytest.skip("this system has no memory files")
    line.control.collect(Outbox.on(memory))
    os.close(memory)
    return line


def heard(line: Line, count: int) -> list[str]:
    return [message.job_id for message in (line.hear() for _ in range(count)) if isinstance(message, Emit | Finished)]


def emit(number: int, size: int = 0) -> Emit:
    return Emit(job_id=str(number), event="e", data_json=b" " * size)


def test_held_messages_go_before_the_next_in_one_piece(collecting: Line):
    for number in range(3):
        collecting.control.hold(emit(number))
    collecting.front.setblocking(False)
    with pytest.raises(BlockingIOError):
        collecting.front.recv(1)
    collecting.front.settimeout(PATIENCE_S)
    collecting.control.send(finished("3"))
    assert collecting.front.recv(1 << 16).count(b"job_id") == 4


def test_what_is_held_keeps_its_order_and_what_has_no_room_goes_at_once(collecting: Line):
    for number, size in enumerate([10, SIZE, 0, 0]):
        collecting.control.hold(emit(number, size))
    assert heard(collecting, 2) == ["0", "1"]
    collecting.control.flush()
    assert heard(collecting, 2) == ["2", "3"]


def test_a_front_that_has_time_hears_of_what_is_held_meanwhile(collecting: Line, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("executor.worker.outgoing.ALONE_S", -1.0)
    for number in range(3):
        collecting.control.hold(emit(number), alone=True)
    assert heard(collecting, 2) == ["0", "1"]
    collecting.control.flush()
    assert heard(collecting, 1) == ["2"]


def test_held_messages_are_let_go_after_a_while(line: Line, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("executor.worker.outgoing.HOLD_S", 0.001)
    memory = shared_memory()
    if memory is None:
        pytest.skip("this system has no memory files")
    line.control.collect(Outbox.on(memory))
    os.close(memory)
    for number in range(2):
        line.control.hold(emit(number))
        assert heard(line, 1) == [str(number)]


def test_without_an_outbox_nothing_is_held(line: Line):
    line.control.hold(emit(1))
    assert heard(line, 1) == ["1"]


def test_a_sender_waits_for_a_slow_front(line: Line, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("executor.worker.outgoing.MAX_QUEUED", 1)
    big = Emit(job_id="a", event="e", data_json=b" " * (8 << 20))
    sender = threading.Thread(target=lambda: [line.control.send(big) for _ in range(3)])
    sender.start()
    sender.join(timeout=0.2)
    waited = sender.is_alive()
    for _ in range(3):
        line.hear()
    sender.join(timeout=PATIENCE_S)
    assert (waited, sender.is_alive()) == (True, False)


def test_an_answer_carries_the_id_of_the_question(line: Line):
    async def answerer(question: Ask) -> bytes:
        return question.body_json

    line.control.answerer = answerer
    line.say(Ask(id=7, question="describe", body_json=b"[1]"))
    assert line.hear() == Answer(id=7, value_json=b"[1]")


@pytest.mark.parametrize(
    ("failure", "told"), [(BadInput("no such node"), "no such node"), (ValueError("odd"), "ValueError: odd")]
)
def test_a_question_that_fails_is_answered_with_the_reason(line: Line, failure: Exception, told: str):
    async def answerer(question: Ask) -> bytes:
        raise failure

    line.control.answerer = answerer
    line.say(Ask(id=7, question="describe"))
    assert line.hear() == Answer(id=7, error=told)


def test_a_question_before_the_nodes_are_there_is_answered(line: Line):
    line.say(Ask(id=1, question="describe"))
    assert line.hear() == Answer(id=1, error="the worker is still starting")


def test_the_end_of_the_channel_stops_the_work(line: Line):
    line.say(run())
    job = line.job()
    line.hang_up()
    assert line.ended.wait(PATIENCE_S)
    assert isinstance(job, Job)
    assert (job.flag.is_set(), line.job(), line.codes) == (True, Stop(), [0])


def test_stop_while_starting_ends_at_once(line: Line):
    line.say(Stop())
    assert line.ended.wait(PATIENCE_S)


def test_nonsense_from_the_front_ends_the_worker_with_an_error(line: Line):
    line.front.sendall(HEADER.pack(3) + b"xyz")
    assert line.ended.wait(PATIENCE_S)
    assert line.codes == [1]


def test_sending_after_the_end_is_no_error(line: Line):
    line.hang_up()
    line.ended.wait(PATIENCE_S)
    line.control.send(finished())
    line.control.flush()


def test_a_wish_gets_its_answer(line: Line):
    first, second = line.control.request("queue", b"1"), line.control.request("delete", b"2")
    asked = [line.hear(), line.hear()]
    assert [(wish.wish, wish.body_json) for wish in asked if isinstance(wish, Request)] == [
        ("queue", b"1"),
        ("delete", b"2"),
    ]
    line.say(*(Reply(id=wish.id, value_json=wish.body_json) for wish in reversed(asked)))
    assert (first.result(PATIENCE_S), second.result(PATIENCE_S)) == (b"1", b"2")


def test_a_wish_that_is_refused_fails_with_the_reason(line: Line):
    answer = line.control.request("queue", b"null")
    line.say(Reply(id=line.hear().id, error="not now"))
    with pytest.raises(BadInput, match="not now"):
        answer.result(PATIENCE_S)


def test_a_wish_fails_when_the_front_hangs_up(line: Line):
    answer = line.control.request("queue", b"null")
    line.hang_up()
    with pytest.raises(NotReady):
        answer.result(PATIENCE_S)


def test_a_wish_after_the_end_fails(line: Line):
    line.hang_up()
    assert line.ended.wait(PATIENCE_S)
    with pytest.raises(NotReady):
        line.control.request("queue", b"null").result(PATIENCE_S)


def test_a_reply_that_nobody_waits_for_is_dropped(line: Line):
    line.say(Reply(id=99), run("a"))
    assert isinstance(line.job(), Job)


def test_exit_in_an_answer_ends_the_worker_with_its_code(line: Line, capfd: pytest.CaptureFixture[str]):
    async def answerer(question: Ask) -> bytes:
        sys.exit(3)

    line.control.answerer = answerer
    line.say(Ask(id=1, question="validate"))
    assert line.ended.wait(PATIENCE_S)
    assert line.codes == [3]
    assert "SystemExit" in capfd.readouterr().err


def test_the_front_is_heard_while_an_answer_takes_its_time(line: Line):
    may_end = threading.Event()

    async def answerer(question: Ask) -> bytes:
        may_end.wait(PATIENCE_S)
        return b"1"

    line.control.answerer = answerer
    line.say(Ask(id=1, question="validate"), run())
    assert isinstance(line.job(), Job)
    may_end.set()
    assert line.hear() == Answer(id=1, value_json=b"1")


def test_an_answer_may_wait_for_a_wish(line: Line):
    async def answerer(question: Ask) -> bytes:
        assert line.control.is_answering()
        return line.control.request("queue", b"null", at_once=True).result(PATIENCE_S)

    line.control.answerer = answerer
    line.say(Ask(id=1, question="validate"))
    wish = line.hear()
    assert isinstance(wish, Request)
    assert wish.at_once
    line.say(Reply(id=wish.id, value_json=b"7"))
    assert line.hear() == Answer(id=1, value_json=b"7")
    assert not line.control.is_answering()
