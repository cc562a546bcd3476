"""The line of packs to their worker and the front."""

import asyncio
import json
import logging
import threading
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
        self.thread = threading.Thread()
        self.jobs: SimpleQueue[object] = SimpleQueue()
        self.answer: Future[bytes] = Future()

    def request(self, wish: str, body_json: bytes, owner: str = "") -> Future[bytes]:
        return self.answer


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def line(control: Control) -> Line:
    return Line(control)


def test_request_waits_for_its_answer(line: Line, control: Control):
    control.answer.set_result(json.dumps({"a": 1}).encode())
    assert line.request("queue", None) == {"a": 1}


def test_request_on_the_loop_goes_aside(control: Control):
    class Aside:
        def ask(self, wish: str, body_json: bytes) -> bytes:
            return json.dumps([wish, json.loads(body_json)]).encode()

    control.thread = threading.current_thread()
    line = Line(control, aside=Aside())
    assert line.request("queue", {"a": 1}) == ["queue", {"a": 1}]


def test_request_on_the_loop_is_refused_where_there_is_no_way_aside(line: Line, control: Control):
    control.thread = threading.current_thread()
    with pytest.raises(RuntimeError, match="VALIDATE_INPUTS"):
        line.request("queue", None)


def called_on_the_packs_loop(line: Line, call: Callable[[], object]) -> object:
    async def called() -> object:
        return call()

    return asyncio.run_coroutine_threadsafe(called(), line.loop).result(20)


def test_a_route_asks_aside_and_belongs_to_no_prompt(control: Control):
    class Aside:
        def ask(self, wish: str, body_json: bytes) -> bytes:
            return json.dumps(wish).encode()

        def close(self) -> None:
            pass

    line = Line(control, aside=Aside())
    line.began(Run(job_id="a", prompt_json=b"{}", targets=(), owner="anna"), InterruptFlag())
    assert line.owner == "anna"
    assert called_on_the_packs_loop(line, lambda: line.request("queue", None)) == "queue"
    assert called_on_the_packs_loop(line, lambda: (line.owner, line.on_loop(), line.hears())) == ("", True, False)
    line.close()
    assert not line.loop.is_running()


def test_a_route_without_a_way_aside_waits_for_the_usual_answer(line: Line, control: Control):
    control.answer.set_result(b"5")
    assert called_on_the_packs_loop(line, lambda: line.request("queue", None)) == 5
    line.close()


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
