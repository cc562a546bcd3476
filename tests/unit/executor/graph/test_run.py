"""Running prompts: order, events, caching between runs, errors (reference/execution.md sections 4, 9, 11)."""

import asyncio
import time

import numpy
import pytest

from executor.context import InterruptFlag, current
from executor.errors import Interrupted
from tests.unit.executor.graph.harness import Bench, node, node_class, shown, text_node


def constant(name="Const", calls=None):
    def run(self, value):
        if calls is not None:
            calls.append(value)
        return (value,)

    return node_class(name, run, {"value": ("*",)})


def plus(name="Plus"):
    return node_class(name, lambda self, a, b=0: (a + b,), {"a": ("INT",), "?b": ("INT",)}, returns=("INT",))


CHAIN = {"1": node("Const", value=1), "2": node("Plus", a=("1", 0), b=4), "3": node("Show", value=("2", 0))}


def test_a_chain_gives_its_ui_and_meta():
    result = Bench(constant(), plus(), text_node()).run(CHAIN)
    assert result.state == "succeeded"
    assert shown(result) == {"3": ["5"]}
    assert result.meta == {"3": {"node_id": "3", "display_node": "3", "parent_node": None, "real_node_id": "3"}}


def test_a_fresh_run_tells_its_events_in_the_recorded_order():
    bench = Bench(constant(), plus(), text_node())
    result = bench.run(CHAIN)
    told = [(name, data.get("node", data.get("nodes"))) for name, data in bench.events.log if name != "progress_state"]
    assert told == [
        ("execution_start", None),
        ("execution_cached", []),
        ("executing", "1"),
        ("executing", "2"),
        ("executing", "3"),
        ("executed", "3"),
    ]
    assert [name for name, _ in bench.events.log][2:5] == ["progress_state", "executing", "progress_state"]
    assert [message[0] for message in result.messages] == ["execution_start", "execution_cached", "execution_success"]


def test_the_last_message_is_not_emitted():
    bench = Bench(constant(), plus(), text_node())
    bench.run(CHAIN)
    assert not bench.events.named("execution_success")


def test_progress_state_holds_every_node_so_far_in_the_recorded_shape():
    bench = Bench(constant(), plus(), text_node())
    bench.run(CHAIN)
    place = {"prompt_id": "job", "parent_node_id": None}
    assert bench.events.named("progress_state")[2]["nodes"] == {
        "1": {"value": 1, "max": 1, "state": "finished", "node_id": "1", "display_node_id": "1", "real_node_id": "1"}
        | place,
        "2": {"value": 0, "max": 1, "state": "running", "node_id": "2", "display_node_id": "2", "real_node_id": "2"}
        | place,
    }


def test_a_cached_run_only_resends_the_output():
    bench = Bench(constant(), plus(), text_node())
    bench.run(CHAIN)
    result = bench.run(CHAIN)
    assert bench.events.executing == []
    assert bench.events.named("execution_cached")[0]["nodes"] == ["1", "2", "3"]
    assert bench.events.named("executed") == [
        {"node": "3", "display_node": "3", "output": {"text": ["5"]}, "prompt_id": "job"}
    ]
    (state,) = bench.events.named("progress_state")
    assert {key: state["nodes"]["3"][key] for key in ("state", "value", "max")} == {
        "state": "finished", "value": 1, "max": 1,
    }  # fmt: skip
    assert shown(result) == {"3": ["5"]}


def test_a_cached_output_without_ui_is_resent_as_null():
    bench = Bench(node_class("Sink", lambda self: {}, output=True, returns=()))
    bench.run({"1": node("Sink")})
    bench.run({"1": node("Sink")})
    assert bench.events.named("executed")[0]["output"] is None


def test_a_change_runs_what_is_below_it_only():
    bench = Bench(constant(), plus(), text_node())
    bench.run(CHAIN)
    bench.run(CHAIN | {"2": node("Plus", a=("1", 0), b=5)})
    assert bench.events.executing == ["2", "3"]


def test_equal_nodes_run_once_and_both_report():
    calls = []
    bench = Bench(text_node(calls=calls))
    result = bench.run({"1": node("Show", value="x"), "2": node("Show", value="x")})
    assert calls == ["x"]
    assert shown(result) == {"1": ["x"], "2": ["x"]}


def test_outputs_and_what_feeds_them_go_first():
    bench = Bench(constant(), plus(), text_node())
    prompt = {
        "far": node("Const", value=1),
        "mid": node("Plus", a=("far", 0)),
        "end": node("Show", value=("mid", 0)),
        "near": node("Const", value=2),
        "out": node("Show", value=("near", 0)),
    }
    bench.run(prompt)
    assert bench.events.executing == ["near", "out", "far", "mid", "end"]


def test_nodes_that_no_output_needs_do_not_run():
    calls = []
    Bench(constant(calls=calls), text_node()).run({"1": node("Const", value=1), "2": node("Show", value="x")})
    assert calls == []


def test_only_the_targets_run():
    bench = Bench(text_node())
    result = bench.run({"1": node("Show", value="a"), "2": node("Show", value="b")}, ["2"])
    assert list(result.outputs) == ["2"]


def test_a_failing_node_ends_the_prompt_with_a_full_report():
    def fail(self, value):
        raise ValueError("no good")

    bench = Bench(constant(), node_class("Fail", fail, {"value": ("*",)}), text_node())
    result = bench.run({
        "1": node("Const", value=3), "2": node("Fail", value=("1", 0)), "3": node("Show", value=("2", 0)),
    })  # fmt: skip
    event, data = result.messages[-1]
    assert (result.state, event) == ("failed", "execution_error")
    assert {key: data[key] for key in data if key not in ("traceback", "timestamp")} == {
        "prompt_id": "job",
        "node_id": "2",
        "node_type": "Fail",
        "executed": ["1"],
        "exception_message": "no good\n",
        "exception_type": "ValueError",
        "current_inputs": {"value": [3]},
        "current_outputs": ["1", "2", "3"],
    }
    assert "fail" in data["traceback"][-1]
    assert isinstance(data["timestamp"], int)


def test_what_ran_before_an_error_stays_cached_and_the_failed_node_does_not():
    broken = [True]

    def maybe(self, value):
        if broken[0]:
            raise RuntimeError
        return (value,)

    bench = Bench(constant(), node_class("Maybe", maybe, {"value": ("*",)}), text_node())
    prompt = {"1": node("Const", value=3), "2": node("Maybe", value=("1", 0)), "3": node("Show", value=("2", 0))}
    bench.run(prompt)
    broken[0] = False
    assert shown(bench.run(prompt)) == {"3": ["3"]}
    assert bench.events.executing == ["2", "3"]


def test_a_node_that_exits_the_process_only_fails():
    def leave(self):
        raise SystemExit(3)

    result = Bench(node_class("Leave", leave, output=True, returns=())).run({"1": node("Leave")})
    assert result.messages[-1][1]["exception_type"] == "SystemExit"


@pytest.mark.parametrize(
    ("failure", "words"),
    [(SystemExit(3), "sys.exit(3)"), (SystemExit(), "sys.exit()"), (KeyboardInterrupt(), "KeyboardInterrupt")],
)
def test_an_exit_is_told_with_its_node(failure: BaseException, words: str):
    def leave(self):
        raise failure

    result = Bench(node_class("Leave", leave, output=True, returns=())).run({"1": node("Leave")})
    assert result.messages[-1][1]["exception_message"] == f"node 1 (Leave) ended by {words}\n"


def test_an_async_node_that_exits_the_process_only_fails():
    async def leave(self):
        raise SystemExit(3)

    result = Bench(node_class("Leave", leave, output=True, returns=())).run({"1": node("Leave")})
    assert result.state == "failed"
    assert "sys.exit(3)" in str(result.messages[-1][1]["exception_message"])


def test_a_tip_ends_the_message():
    def fail(self):
        raise MemoryError("too big")

    bench = Bench(node_class("Fail", fail, output=True, returns=()))
    result = bench.run({"1": node("Fail")}, tip_for=lambda failure: "Use smaller pictures.")
    assert result.messages[-1][1]["exception_message"] == "too big\nUse smaller pictures."


def test_an_unknown_class_fails_the_prompt_with_its_name():
    result = Bench(text_node()).run({"1": node("Shw", value=1), "2": node("Show", value=("1", 0))})
    assert "Shw" in result.messages[-1][1]["exception_message"]


def test_a_loop_ends_as_a_cycle_error():
    bench = Bench(plus(), text_node())
    result = bench.run({
        "1": node("Plus", a=("2", 0)), "2": node("Plus", a=("1", 0)), "3": node("Show", value=("1", 0)),
    })  # fmt: skip
    data = result.messages[-1][1]
    assert (result.state, data["exception_type"], data["exception_message"]) == (
        "failed", "graph.DependencyCycleError", "Dependency cycle detected",
    )  # fmt: skip
    assert (data["traceback"], data["current_inputs"]) == ([], [])
    assert data["node_id"] in ("1", "2")


def test_an_interrupt_is_seen_before_the_next_call():
    flag = InterruptFlag()

    def stop(self):
        flag.set()
        return (1,)

    bench = Bench(node_class("Stop", stop), text_node())
    result = bench.run({"1": node("Stop"), "2": node("Show", value=("1", 0))}, interrupt=flag)
    event, data = result.messages[-1]
    assert (result.state, event) == ("interrupted", "execution_interrupted")
    assert (data["node_id"], data["node_type"], data["executed"]) == ("2", "Show", ["1"])


def test_an_interrupt_is_seen_at_a_progress_step():
    flag = InterruptFlag()

    def work(self):
        flag.set()
        current().progress(1, 2)
        return ()

    result = Bench(node_class("Work", work, output=True, returns=())).run({"1": node("Work")}, interrupt=flag)
    assert result.state == "interrupted"


def test_an_interrupt_set_before_the_start_is_not_lost():
    flag = InterruptFlag()
    flag.set()
    result = Bench(text_node()).run({"1": node("Show", value="x")}, interrupt=flag)
    assert result.state == "interrupted"


def fingerprinted(calls: list[str]) -> type:
    def run(self):
        calls.append("run")
        return ()

    tell = classmethod(lambda cls: calls.append("fingerprint"))
    return node_class("Work", run, output=True, returns=(), IS_CHANGED=tell)


def test_a_prompt_waits_to_be_allowed_before_any_code_of_a_node():
    calls: list[str] = []

    class Waiting(InterruptFlag):
        def wait_allowed(self) -> None:
            calls.append("allowed")

    Bench(fingerprinted(calls)).run({"1": node("Work")}, interrupt=Waiting())
    assert calls == ["allowed", "fingerprint", "allowed", "run"]


def test_a_held_prompt_that_is_stopped_instead_runs_no_code_of_a_node():
    flag, calls = InterruptFlag(held=True), []
    flag.set()
    assert Bench(fingerprinted(calls)).run({"1": node("Work")}, interrupt=flag).state == "interrupted"
    assert calls == []


def test_a_held_prompt_whose_results_are_all_there_waits_for_nobody():
    bench = Bench(text_node())
    bench.run({"1": node("Show", value="x")})
    again = bench.run({"1": node("Show", value="x")}, interrupt=InterruptFlag(held=True))
    assert (again.state, again.reused) == ("succeeded", 1)


def test_a_packs_own_interrupt_counts():
    def stop(self):
        raise Interrupted("stop")

    assert Bench(node_class("Stop", stop, output=True, returns=())).run({"1": node("Stop")}).state == "interrupted"


def test_steps_are_told_as_state_then_step_then_picture():
    class Picture:
        def image(self):
            raise AssertionError("nobody asked")

    def work(self):
        current().progress(5, 4, Picture())
        return ()

    bench = Bench(node_class("Work", work, output=True, returns=()))
    bench.run({"1": node("Work")})
    names = [name for name, _ in bench.events.log]
    at = names.index("progress")
    assert names[at - 1 : at + 2] == ["progress_state", "progress", "preview"]
    assert bench.events.named("progress") == [{"value": 4, "max": 4, "prompt_id": "job", "node": "1"}]
    assert bench.events.named("preview") == [
        {"node_id": "1", "prompt_id": "job", "display_node_id": "1", "parent_node_id": None, "real_node_id": "1"}
    ]


def test_events_go_to_their_audiences():
    def work(self):
        current().progress(1, 1)
        return {"ui": {"text": ["x"]}}

    bench = Bench(node_class("Work", work, output=True, returns=()))
    bench.run({"1": node("Work")})
    assert bench.events.audiences == {
        "execution_start": "owner",
        "execution_cached": "owner",
        "executing": "owner",
        "executed": "owner",
        "progress": "owner_or_all",
        "progress_state": "owner_or_all",
    }


def test_nodes_know_who_runs_them():
    seen = []

    def look(self, value):
        context = current()
        seen.append((context.job_id, context.node_id, context.list_index, context.services))
        return ()

    bench = Bench(
        node_class("Two", lambda self: ([1, 2],), OUTPUT_IS_LIST=(True,)),
        node_class("Look", look, {"value": ("*",)}, output=True, returns=()),
    )
    bench.run({"1": node("Two"), "2": node("Look", value=("1", 0))})
    assert seen == [("job", "2", 0, bench.services), ("job", "2", 1, bench.services)]


def test_an_instance_lives_on_with_its_node():
    def count(self):
        self.count = getattr(self, "count", 0) + 1
        return {"ui": {"text": [str(self.count)]}}

    always = classmethod(lambda cls: float("nan"))
    bench = Bench(node_class("Count", count, output=True, returns=(), IS_CHANGED=always), text_node())
    assert [shown(bench.run({"1": node("Count")})) for _ in range(2)] == [{"1": ["1"]}, {"1": ["2"]}]
    bench.run({"9": node("Show", value=1)})
    assert shown(bench.run({"1": node("Count")})) == {"1": ["1"]}


def test_ui_that_is_no_json_becomes_text():
    bench = Bench(node_class("Odd", lambda self: {"ui": {"text": [{1, 2}.__class__]}}, output=True, returns=()))
    result = bench.run({"1": node("Odd")})
    assert shown(result) == {"1": ["<class 'set'>"]}


def test_numbers_of_numpy_in_ui_become_numbers():
    told = {"a": [numpy.float32(1.5), numpy.int64(3)], "b": [numpy.zeros(2, numpy.int8)]}
    bench = Bench(node_class("Numbers", lambda self: {"ui": told}, output=True, returns=()))
    assert bench.run({"1": node("Numbers")}).outputs == {"1": {"a": [1.5, 3], "b": ["ndarray (2,) int8"]}}


def test_cached_ui_outside_the_targets_is_in_the_outputs():
    bench = Bench(text_node())
    prompt = {"1": node("Show", value="a"), "2": node("Show", value="b")}
    bench.run(prompt)
    assert shown(bench.run(prompt, ["2"])) == {"1": ["a"], "2": ["b"]}


# ---------------------------------------------------------------- async


def test_async_nodes_run_side_by_side():
    running, most = [0], [0]

    async def work(self, value):
        running[0] += 1
        most[0] = max(most[0], running[0])
        for _ in range(5):
            await asyncio.sleep(0)
        running[0] -= 1
        return (value,)

    bench = Bench(node_class("Work", work, {"value": ("*",)}), plus(), text_node())
    prompt = {
        "1": node("Work", value=1),
        "2": node("Work", value=2),
        "3": node("Plus", a=("1", 0), b=("2", 0)),
        "4": node("Show", value=("3", 0)),
    }
    assert shown(bench.run(prompt)) == {"4": ["3"]}
    assert most == [2]


def test_sync_nodes_run_while_async_ones_wait():
    order = []
    release = asyncio.Event()

    async def slow(self):
        await release.wait()
        order.append("slow")
        return (1,)

    def quick(self, value=None):
        order.append("quick")
        release.set()
        return {"ui": {"text": ["done"]}}

    bench = Bench(node_class("Slow", slow), node_class("Quick", quick, output=True, returns=()), text_node())
    bench.run({"1": node("Slow"), "2": node("Show", value=("1", 0)), "3": node("Quick")})
    assert order == ["quick", "slow"]


def test_a_failing_async_node_cancels_the_others():
    cancelled = []

    async def forever(self):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def fail(self):
        await asyncio.sleep(0.01)
        raise ValueError("async")

    bench = Bench(
        node_class("Forever", forever, output=True, returns=()), node_class("Fail", fail, output=True, returns=())
    )
    result = bench.run({"1": node("Forever"), "2": node("Fail")})
    assert result.messages[-1][1]["node_id"] == "2"
    assert cancelled == [True]


def test_an_interrupt_ends_a_sleeping_async_node():
    flag = InterruptFlag()

    async def sleep(self):
        asyncio.get_running_loop().call_later(0.01, flag.set)
        await asyncio.sleep(60)

    began = time.monotonic()
    result = Bench(node_class("Sleep", sleep, output=True, returns=())).run({"1": node("Sleep")}, interrupt=flag)
    assert (result.state, result.messages[-1][1]["node_id"]) == ("interrupted", "1")
    assert time.monotonic() - began < 10


async def test_cancelling_the_run_cancels_its_nodes():
    started = asyncio.Event()

    async def forever(self):
        started.set()
        await asyncio.Event().wait()

    bench = Bench(node_class("Forever", forever, output=True, returns=()))
    task = asyncio.create_task(bench.start({"1": node("Forever")}))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == 1


# ---------------------------------------------------------------- hidden inputs


def test_hidden_inputs_are_filled():
    seen = {}

    def look(self, **inputs):
        seen.update(inputs)
        return ()

    hidden = {
        "#prompt": "PROMPT", "#png": "EXTRA_PNGINFO", "#me": "UNIQUE_ID", "#graph": "DYNPROMPT",
        "#token": "AUTH_TOKEN_COMFY_ORG", "#key": ("API_KEY_COMFY_ORG",), "#odd": "SOMETHING_ELSE",
    }  # fmt: skip
    bench = Bench(node_class("Look", look, hidden, output=True, returns=()))
    prompt = {"7": node("Look")}
    bench.run(prompt, extra={"extra_pnginfo": {"workflow": 1}}, secrets={"auth_token_comfy_org": "t"})
    graph = seen.pop("graph")
    assert seen == {"prompt": prompt, "png": {"workflow": 1}, "me": "7", "token": "t", "key": None}
    assert graph.get_node("7")["class_type"] == "Look"


def test_hidden_values_are_kept_out_of_error_reports():
    def fail(self, token):
        raise ValueError

    bench = Bench(node_class("Fail", fail, {"#token": "AUTH_TOKEN_COMFY_ORG"}, output=True, returns=()))
    result = bench.run({"1": node("Fail")}, secrets={"auth_token_comfy_org": "secret"})
    assert result.messages[-1][1]["current_inputs"] == {}


# ---------------------------------------------------------------- size


def test_ten_thousand_nodes_in_a_row_run_without_recursion():
    length = 10_000
    chain = {"0": node("Const", value=0)}
    chain |= {str(i): node("Plus", a=(str(i - 1), 0), b=1) for i in range(1, length)}
    chain["end"] = node("Show", value=(str(length - 1), 0))
    assert shown(Bench(constant(), plus(), text_node()).run(chain)) == {"end": [str(length - 1)]}
