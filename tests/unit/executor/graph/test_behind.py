"""Work that goes on beside the nodes after it: when it is told, what waits for it, what its failure ends."""

import functools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from executor.context import InterruptFlag, current, finishing_later
from executor.errors import Interrupted
from executor.graph.behind import LEAST_BYTES, MOST_BYTES, WORTH_BYTES, Share
from tests.unit.executor.graph.harness import Bench, Recorder, node, node_class

PATIENCE_S = 20.0
SHORT_S = 0.1  # for which something that must not come is waited for
Works = dict[str, threading.Event]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def saver(work, nbytes=LEAST_BYTES, name="Save", wrap=lambda function: function, **attributes):
    """An output node that hands `work` over, or does it itself."""

    @finishing_later
    def run(self, tag):
        if not current().finish_later(lambda: lambda: work(tag), nbytes):
            work(tag)
        return {"ui": {"saved": [tag]}}

    return node_class(name, wrap(run), {"tag": ("*",)}, output=True, returns=(), **attributes)


def after(function, name="After", **attributes):
    return node_class(
        name, lambda self, tag: function(tag) or {}, {"tag": ("*",)}, output=True, returns=(), **attributes
    )


def meeting():
    """A work that waits for a node, and a node that lets it go: they only end where both go on at a time."""
    gate = threading.Event()
    met: list[bool] = []
    return lambda tag: met.append(gate.wait(PATIENCE_S)), lambda tag: gate.set(), met


def both(first="Save", second="After"):
    return {"1": node(first, tag="a"), "2": node(second, tag="b")}


def test_the_next_node_runs_while_work_goes_on(threads):
    work, step, met = meeting()
    result = Bench(saver(work), after(step)).run(both(), threads=threads)
    assert (met, result.state, result.outputs) == ([True], "succeeded", {"1": {"saved": ["a"]}})


def test_a_node_is_told_when_its_work_is_over_though_another_runs(threads):
    told, seen = threading.Event(), []

    class Told(Recorder):
        def emit(self, event, data, audience):
            super().emit(event, data, audience)
            if event == "executed":
                told.set()

    bench = Bench(saver(lambda tag: None), after(lambda tag: seen.append(told.wait(PATIENCE_S))))
    bench.recorder = Told
    bench.run(both(), threads=threads)
    assert seen == [True]


def test_a_node_is_told_only_when_its_work_is_over(threads):
    work, step, _ = meeting()
    bench = Bench(saver(work), after(step))
    bench.run(both(), threads=threads)
    assert bench.events.order("executing", "executed") == [
        ("executing", "1"),
        ("executing", "2"),
        ("executed", "1"),
    ]


def test_the_prompt_ends_after_all_work(threads):
    done = []
    result = Bench(saver(done.append), after(lambda tag: None)).run(both(), threads=threads)
    assert (done, result.messages[-1][0]) == (["a"], "execution_success")


def test_work_that_fails_ends_the_prompt_at_its_node(threads):
    def work(tag):
        raise OSError("no room")

    result = Bench(saver(work), after(lambda tag: None)).run(both(), threads=threads)
    event, data = result.messages[-1]
    assert (event, data["node_id"], data["exception_message"].strip()) == ("execution_error", "1", "no room")
    assert (result.state, result.outputs) == ("failed", {})


def test_no_result_is_kept_of_work_that_failed(threads):
    tried = []

    def work(tag):
        tried.append(tag)
        raise OSError("no room")

    bench = Bench(saver(work), after(lambda tag: None))
    for _ in range(2):
        bench.run(both(), threads=threads)
    assert tried == ["a", "a"]


def test_a_result_is_kept_of_work_that_is_done(threads):
    done = []
    bench = Bench(saver(done.append), after(lambda tag: None))
    for _ in range(2):
        bench.run(both(), threads=threads)
    assert done == ["a"]


def test_an_interrupt_elsewhere_leaves_work_to_be_done_and_told(threads):
    gate, done = threading.Event(), []

    def work(tag):
        gate.wait(PATIENCE_S)
        done.append(tag)

    def stop(tag):
        gate.set()
        raise Interrupted("stopped")

    bench = Bench(saver(work), after(stop))
    result = bench.run(both(), threads=threads, interrupt=InterruptFlag())
    assert (done, result.state, result.outputs) == (["a"], "interrupted", {"1": {"saved": ["a"]}})
    assert [data["node"] for data in bench.events.named("executed")] == ["1"]


def test_a_failure_elsewhere_is_the_one_that_is_told(threads):
    def work(tag):
        raise OSError("no room")

    def fail(tag):
        raise ValueError("wrong")

    result = Bench(saver(work), after(fail)).run(both(), threads=threads)
    assert result.messages[-1][1]["node_id"] in ("1", "2")
    assert [message[0] for message in result.messages].count("execution_error") == 1


def test_a_node_of_a_pack_runs_after_all_work(threads):
    gate, met = threading.Event(), []
    bench = Bench(saver(lambda tag: met.append(gate.wait(SHORT_S))), after(lambda tag: gate.set()))
    pack = msgspec.structs.replace(bench.table.definitions["After"], pack="custom_nodes.somebody")
    bench.table.definitions = {**bench.table.definitions, "After": pack}
    bench.run(both(), threads=threads)
    assert met == [False]


def test_an_equal_node_waits_and_takes_the_result(threads):
    done = []

    def work(tag):
        done.append(tag)
        threading.Event().wait(SHORT_S)

    result = Bench(saver(work)).run({"1": node("Save", tag="a"), "2": node("Save", tag="a")}, threads=threads)
    assert (done, result.outputs) == (["a"], {"1": {"saved": ["a"]}, "2": {"saved": ["a"]}})


def test_the_last_node_does_its_work_itself(threads):
    where = []
    Bench(saver(lambda tag: where.append(threading.current_thread()))).run(
        {"1": node("Save", tag="a")}, threads=threads
    )
    assert where == [threading.current_thread()]


def test_without_threads_a_node_does_its_work_itself():
    where = []
    Bench(saver(lambda tag: where.append(threading.current_thread())), after(lambda tag: None)).run(both())
    assert where == [threading.current_thread()]


def test_a_wrapped_function_finds_its_work_done(threads):
    seen = []

    def wrap(function):
        @functools.wraps(function)
        def wrapped(self, tag):
            result = function(self, tag)
            seen.append(threading.current_thread())
            return result

        return wrapped

    bench = Bench(saver(lambda tag: seen.append(threading.current_thread()), wrap=wrap), after(lambda tag: None))
    bench.run(both(), threads=threads)
    assert seen == [threading.current_thread()] * 2


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [
        ([LEAST_BYTES - 1], [False]),
        ([LEAST_BYTES], [True]),
        ([MOST_BYTES], [True]),
        ([MOST_BYTES + 1], [False]),
        ([MOST_BYTES - LEAST_BYTES, LEAST_BYTES, LEAST_BYTES], [True, True, False]),
    ],
)
def test_work_is_taken_over_where_it_pays_and_fits(sizes, taken):
    share = Share(room=MOST_BYTES)
    assert [share.take(lambda: lambda: None, size) for size in sizes] == taken


# ---------------------------------------------------------------- beside the next prompt


class Before:
    """A prompt before, whose files are being written under a key; `settled` counts who waited."""

    def __init__(self) -> None:
        self.settled = 0

    def __bool__(self) -> bool:
        return self.settled == 0

    def has(self, key: object) -> bool:
        return False

    def settle(self) -> None:
        self.settled += 1


def left(bench: Bench, threads):
    """The result of a prompt that leaves while the work of its only node goes on."""
    result = bench.run({"1": node("Save", tag="a")}, threads=threads, leaves=lambda: True)
    assert result.rest is not None
    return result


def test_a_prompt_that_leaves_has_not_ended_yet(threads):
    gate = threading.Event()
    bench = Bench(saver(lambda tag: gate.wait(PATIENCE_S), WORTH_BYTES))
    result = left(bench, threads)
    assert [event for event, _ in result.messages] == ["execution_start", "execution_cached"]
    gate.set()
    end = result.rest.finish()
    assert (end.state, end.outputs, end.messages[-1][0]) == ("succeeded", {"1": {"saved": ["a"]}}, "execution_success")
    assert [name for name, _ in end.nodes] == ["Save"]


def test_a_prompt_that_leaves_fails_where_its_work_does(threads):
    def work(tag):
        raise OSError("no room")

    end = left(Bench(saver(work, WORTH_BYTES)), threads).rest.finish()
    event, data = end.messages[-1]
    assert (end.state, event, data["node_id"], data["exception_message"].strip()) == (
        "failed",
        "execution_error",
        "1",
        "no room",
    )


def test_a_prompt_that_leaves_with_nothing_open_has_ended(threads):
    result = Bench(after(lambda tag: None)).run({"1": node("After", tag="a")}, threads=threads, leaves=lambda: True)
    assert (result.rest, result.messages[-1][0]) == (None, "execution_success")


def test_a_prompt_of_plain_nodes_waits_for_nothing_of_the_one_before(threads):
    before = Before()
    Bench(after(lambda tag: None)).run({"1": node("After", tag="a")}, threads=threads, earlier=before)
    assert before.settled == 0


def test_a_node_that_looks_at_files_runs_after_those_of_the_prompt_before(threads):
    before, seen = Before(), []
    reader = after(
        lambda tag: seen.append(before.settled), IS_CHANGED=classmethod(lambda cls, tag: seen.append(before.settled))
    )
    Bench(reader).run({"1": node("After", tag="a")}, threads=threads, earlier=before)
    assert set(seen) == {1}


def test_the_pictures_of_one_prompt_at_most_wait(threads):
    before, seen = Before(), []
    bench = Bench(saver(lambda tag: seen.append(before.settled), WORTH_BYTES))
    bench.run({"1": node("Save", tag="a")}, threads=threads, leaves=lambda: True, earlier=before).rest.finish()
    assert seen == [1]


def test_a_node_hands_nothing_over_where_nobody_comes_next(threads):
    result = Bench(saver(lambda tag: None, WORTH_BYTES)).run(
        {"1": node("Save", tag="a")}, threads=threads, leaves=lambda: False
    )
    assert (result.rest, result.outputs) == (None, {"1": {"saved": ["a"]}})


def test_files_are_noted_under_the_node_that_writes_them(threads):
    seen: list[str] = []
    bench = Bench(saver(lambda tag: seen.append(current().node_id)), after(lambda tag: None))
    bench.run({"7": node("Save", tag="a"), "8": node("After", tag="b")}, threads=threads)
    assert seen == ["7"]


@pytest.mark.parametrize(("nbytes", "leaves"), [(WORTH_BYTES - 1, False), (WORTH_BYTES, True)])
@pytest.mark.parametrize("others", [False, True])
def test_little_work_is_waited_for(threads, nbytes: int, leaves: bool, others: bool):
    graph = {"1": node("Save", tag="a")} | ({"2": node("After", tag="b")} if others else {})
    gate = threading.Event()
    bench = Bench(saver(lambda tag: gate.wait(PATIENCE_S if leaves else SHORT_S), nbytes), after(lambda tag: None))
    result = bench.run(graph, threads=threads, leaves=lambda: True)
    gate.set()
    assert (result.rest is not None) == leaves
    if result.rest is not None:
        assert result.rest.finish().state == "succeeded"
