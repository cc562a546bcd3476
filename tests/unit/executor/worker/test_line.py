"""The line of packs to their worker and the front."""

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from types import SimpleNamespace

import pytest

from executor.context import InterruptFlag, SilentProgress
from executor.errors import BadInput
from executor.messages import Clients, Free, Run
from executor.worker.line import Line


class Control:
    """Answers every wish with what `answer` holds."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[object] = SimpleQueue()
        self.answer: Future[bytes] = Future()
        self.asked: list[tuple[str, str, bool]] = []  # wish, owner, whether it is met at once
        self.answers_here = False

    def request(self, wish: str, body_json: bytes, owner: str = "", *, at_once: bool = False) -> Future[bytes]:
        self.asked.append((wish, owner, at_once))
        return self.answer

    def is_answering(self) -> bool:
        return self.answers_here

    def exit(self, error: SystemExit) -> None:
        pass


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def line(control: Control) -> Line:
    return Line(control)


def test_request_waits_for_its_answer(line: Line, control: Control):
    control.answer.set_result(json.dumps({"a": 1}).encode())
    assert line.request("queue", None) == {"a": 1}


def called_on_the_packs_loop(line: Line, call: Callable[[], object]) -> object:
    async def called() -> object:
        return call()

    return asyncio.run_coroutine_threadsafe(called(), line.loop).result(20)


def test_a_node_asks_in_its_turn_for_its_prompts_owner(line: Line, control: Control):
    control.answer.set_result(b"5")
    line.began(Run(job_id="a", prompt_json=b"{}", targets=(), owner="anna"), InterruptFlag())
    assert line.request("queue", None) == 5
    assert control.asked == [("queue", "anna", False)]


def test_a_route_asks_at_once_and_belongs_to_no_prompt(line: Line, control: Control):
    control.answer.set_result(b"5")
    line.began(Run(job_id="a", prompt_json=b"{}", targets=(), owner="anna"), InterruptFlag())
    assert called_on_the_packs_loop(line, lambda: line.request("queue", None)) == 5
    assert control.asked == [("queue", "", True)]
    line.close()
    assert not line.loop.is_running()


def test_what_answers_the_front_asks_at_once_and_belongs_to_no_prompt(line: Line, control: Control):
    control.answer.set_result(b"5")
    control.answers_here = True
    line.began(Run(job_id="a", prompt_json=b"{}", targets=(), owner="anna"), InterruptFlag())
    assert line.request("queue", None) == 5
    assert control.asked == [("queue", "", True)]


def test_refused_wish_is_logged(line: Line, control: Control, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        line.wish("enqueue", [])
        control.answer.set_exception(BadInput("no such node"))
    assert "no such node" in caplog.text


def test_news_of_clients_reach_the_watcher(line: Line):
    heard: list[Clients] = []
    line.watcher = SimpleNamespace(clients_changed=heard.append)
    line.clients_changed(Clients(changes={"a": {}}))
    assert heard == [Clients(changes={"a": {}})]


def test_run_is_known_while_it_lasts(line: Line):
    run = Run(job_id="a", prompt_json=b"{}", targets=())
    line.began(run, InterruptFlag())
    during = line.run
    line.ended()
    assert (during, line.run, line.flag) == (run, None, None)


def test_interrupt_between_prompts_is_lost(line: Line):
    flag = InterruptFlag()
    line.began(Run(job_id="a", prompt_json=b"{}", targets=()), flag)
    line.ended()
    line.interrupt()
    assert not flag.is_set()


def test_models_are_freed_in_turn(line: Line, control: Control):
    line.free(models=True, cache=False)
    assert control.jobs.get_nowait() == Free(models=True, cache=False)


def test_close_undoes_in_the_reverse_order(line: Line):
    order: list[int] = []
    line.on_close += [lambda: order.append(1), lambda: order.append(2)]
    line.close()
    line.close()
    assert order == [2, 1]


def test_last_call_is_of_the_node_that_began_last(line: Line):
    flag, sink = InterruptFlag(), SilentProgress()
    line.began(Run(job_id="a", prompt_json=b"{}", targets=(), client_id="me"), flag)
    line.sink = sink
    line.node_started("7")
    call = line.last_call()
    assert (call.job_id, call.client_id, call.node_id, call.interrupt, call.sink) == ("a", "me", "7", flag, sink)


def test_last_call_is_none_between_prompts(line: Line):
    line.began(Run(job_id="a", prompt_json=b"{}", targets=()), InterruptFlag())
    line.sink = SilentProgress()
    line.node_started("7")
    line.ended()
    assert line.last_call().node_id == ""
