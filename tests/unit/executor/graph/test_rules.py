"""Rules of reference/execution.md that no other file here tests; docs/rules.md lists every rule with its test."""

import asyncio
import json

import pytest

from executor.context import InterruptFlag, current
from executor.contract.blocker import ExecutionBlocker
from executor.graph.cache import ClassicCache, NoCache
from tests.unit.executor.graph.harness import Bench, node, node_class, shown, text_node


def error_of(result):
    event, data = result.messages[-1]
    assert event == "execution_error"
    return data


def echo(calls=None, name="Echo", **attributes):
    def run(self, value=None):
        if calls is not None:
            calls.append(value)
        return (value,)

    return node_class(name, run, {"?value": ("*",)}, **attributes)


# ---------------------------------------------------------------- 4: from start to end


def test_is_changed_is_asked_once_of_every_node_in_prompt_order_needed_or_not():
    asked = []

    def is_changed(cls, value):
        asked.append(value)
        return "same"

    bench = Bench(
        node_class("Asked", lambda self, value: (value,), {"value": ("INT",)}, IS_CHANGED=classmethod(is_changed)),
        text_node(),
    )
    bench.run({
        "3": node("Asked", value=3), "1": node("Asked", value=1), "2": node("Asked", value=2),
        "s": node("Show", value=("1", 0)), "t": node("Show", value=("1", 0)),
    })  # fmt: skip
    assert asked == [3, 1, 2]


def test_execution_cached_names_nodes_outside_the_targets_in_prompt_order():
    bench = Bench(text_node())
    prompt = {"9": node("Show", value="a"), "2": node("Show", value="b"), "5": node("Show", value="c")}
    bench.run(prompt, ["2", "9"])
    bench.run(prompt, ["5"])
    assert bench.events.named("execution_cached")[0]["nodes"] == ["9", "2"]


@pytest.mark.parametrize("cache", [ClassicCache, NoCache])
def test_equal_async_nodes_run_together_once(cache):
    calls = []

    async def slow(self, value):
        calls.append(value)
        for _ in range(3):
            await asyncio.sleep(0)
        return {"ui": {"text": [value]}, "result": (value,)}

    bench = Bench(node_class("Slow", slow, {"value": ("STRING",)}, output=True), text_node(), cache=cache())
    prompt = {"1": node("Slow", value="x"), "2": node("Slow", value="x"), "3": node("Show", value=("2", 0))}
    result = bench.run(prompt)
    assert (calls, shown(result)) == (["x"], {"1": ["x"], "2": ["x"], "3": ["x"]})
    assert bench.events.executing == ["1", "2", "3"]
    assert [data["node"] for data in bench.events.named("executed")] == ["1", "2", "3"]
    assert {item["state"] for item in bench.events.named("progress_state")[-1]["nodes"].values()} == {"finished"}


def test_a_node_may_expand_to_its_equal():
    left = [2]

    def again(self, value):
        if not left[0]:
            return (value,)
        left[0] -= 1
        inner = f"inner{left[0]}"
        return {"result": ([inner, 0],), "expand": {inner: node("Again", value=value)}}

    bench = Bench(node_class("Again", again, {"value": ("*",)}), text_node())
    assert shown(bench.run({"1": node("Again", value=4), "s": node("Show", value=("1", 0))})) == {"s": ["4"]}


def test_an_async_node_that_ends_at_once_lets_no_other_node_between():
    order = []

    async def quick(self, value):
        order.append(("call", value))
        return (value,)

    bench = Bench(node_class("Quick", quick, {"value": ("*",)}), text_node())
    bench.run({
        "1": node("Quick", value=1), "2": node("Quick", value=2),
        "s": node("Show", value=("1", 0)), "t": node("Show", value=("2", 0)),
    })  # fmt: skip
    finished = [
        [name for name, item in state["nodes"].items() if item["state"] == "running"]
        for state in bench.events.named("progress_state")
    ]
    assert all(len(running) <= 1 for running in finished)


def test_list_items_of_an_async_node_run_side_by_side():
    running, most = [0], [0]

    async def work(self, value):
        running[0] += 1
        most[0] = max(most[0], running[0])
        for _ in range(3):
            await asyncio.sleep(0)
        running[0] -= 1
        return (value * 2,)

    items = node_class("Items", lambda self: ([1, 2, 3],), OUTPUT_IS_LIST=(True,))
    bench = Bench(items, node_class("Work", work, {"value": ("*",)}), text_node())
    prompt = {"1": node("Items"), "2": node("Work", value=("1", 0)), "3": node("Show", value=("2", 0))}
    assert (shown(bench.run(prompt)), most) == ({"3": ["2", "4", "6"]}, [3])


def test_a_node_with_mixed_inputs_waits_for_the_eager_ones_and_asks_for_the_lazy_one():
    asked = []

    def check_lazy_status(self, eager, lazy=None):
        asked.append((eager, lazy))
        return ["lazy"] if eager else []

    mixed = node_class(
        "Mixed", lambda self, eager, lazy=None: (f"{eager} {lazy}",), {"eager": ("*",), "lazy": ("*", {"lazy": True})},
        check_lazy_status=check_lazy_status,
    )  # fmt: skip
    calls = []
    bench = Bench(mixed, echo(calls), text_node())
    prompt = {
        "e": node("Echo", value=1), "l": node("Echo", value=2), "m": node("Mixed", eager=("e", 0), lazy=("l", 0)),
        "s": node("Show", value=("m", 0)),
    }  # fmt: skip
    assert shown(bench.run(prompt)) == {"s": ["1 2"]}
    assert (asked, calls) == ([(1, None), (1, 2)], [1, 2])


def test_lazy_inputs_and_targets_together_compute_only_what_is_asked_for():
    calls = []
    pick = node_class(
        "Pick", lambda self, first, on=None, off=None: (on if first else off,),
        {"first": ("BOOLEAN",), "on": ("*", {"lazy": True}), "off": ("*", {"lazy": True})},
        check_lazy_status=lambda self, first, on=None, off=None: ["on" if first else "off"],
    )  # fmt: skip
    prompt = {
        "a": node("Echo", value="a"), "b": node("Echo", value="b"),
        "p": node("Pick", first=True, on=("a", 0), off=("b", 0)),
        "q": node("Pick", first=False, on=("a", 0), off=("b", 0)),
        "s": node("Show", value=("p", 0)), "t": node("Show", value=("q", 0)),
    }  # fmt: skip
    bench = Bench(pick, echo(calls), text_node())
    assert shown(bench.run(prompt, ["s"])) == {"s": ["a"]}
    assert calls == ["a"]
    assert shown(bench.run(prompt, ["t"]))["t"] == ["b"]
    assert calls == ["a", "b"]


def test_an_interrupt_is_seen_before_a_lazy_check():
    flag = InterruptFlag()

    def stop(self):
        flag.set()
        return (1,)

    checked = []
    lazy = node_class(
        "Lazy", lambda self, a: (a,), {"a": ("*",)}, check_lazy_status=lambda self, a: checked.append(a) or []
    )
    bench = Bench(node_class("Stop", stop), lazy, text_node())
    prompt = {"1": node("Stop"), "2": node("Lazy", a=("1", 0)), "3": node("Show", value=("2", 0))}
    assert (bench.run(prompt, interrupt=flag).state, checked) == ("interrupted", [])


def test_a_class_that_cannot_be_made_fails_its_node():
    def init(self):
        raise OSError("no device")

    result = Bench(node_class("Odd", lambda self: (), output=True, returns=(), __init__=init)).run({"1": node("Odd")})
    data = error_of(result)
    assert (data["node_id"], data["exception_message"]) == ("1", "no device\n")


def test_an_is_changed_that_ends_the_process_only_makes_the_node_run():
    def leave(cls):
        raise SystemExit(1)

    bench = Bench(node_class("Odd", lambda self: {}, output=True, returns=(), IS_CHANGED=classmethod(leave)))
    assert bench.run({"1": node("Odd")}).state == "succeeded"


def test_what_the_engine_itself_gets_wrong_ends_the_prompt_and_the_next_one_runs():
    class Broken(ClassicCache):
        broken = True

        def begin(self, keys):
            if self.broken:
                raise RuntimeError("out of order")
            super().begin(keys)

    cache = Broken()
    bench = Bench(text_node(), cache=cache)
    data = error_of(bench.run({"1": node("Show", value="x")}))
    assert (data["exception_type"], data["exception_message"]) == ("RuntimeError", "out of order\n")
    cache.broken = False
    assert bench.run({"1": node("Show", value="x")}).state == "succeeded"


# ---------------------------------------------------------------- 5 and 6: calls and inputs


def test_a_hidden_input_of_an_unknown_kind_is_passed_if_the_prompt_has_it():
    seen = []
    look = node_class("Look", lambda self, **inputs: seen.append(inputs) or (), {"#odd": "SOMETHING"}, output=True)
    Bench(look).run({"1": node("Look", odd=5)})
    assert seen == [{"odd": 5}]


def test_defaults_are_never_filled_in_by_the_server():
    def run(self, a):
        return {"ui": {"text": [a]}}

    bench = Bench(node_class("Plain", run, {"?a": ("INT", {"default": 7})}, output=True, returns=()))
    data = error_of(bench.run({"1": node("Plain")}))
    assert data["exception_type"] == "TypeError"


def test_no_items_at_all_give_empty_outputs():
    empty = node_class("Empty", lambda self: ([],), OUTPUT_IS_LIST=(True,))
    taker = node_class("Taker", lambda self, a: (len(a),), {"a": ("*",)}, INPUT_IS_LIST=True)
    bench = Bench(empty, taker, text_node())
    prompt = {"1": node("Empty"), "2": node("Taker", a=("1", 0)), "3": node("Show", value=("2", 0))}
    assert shown(bench.run(prompt)) == {"3": ["0"]}


def test_a_blocked_call_among_others_leaves_the_ui_of_the_others():
    items = node_class("Items", lambda self: (["a", ExecutionBlocker("no"), "c"],), OUTPUT_IS_LIST=(True,))
    bench = Bench(items, text_node())
    result = bench.run({"1": node("Items"), "2": node("Show", value=("1", 0))})
    assert shown(result) == {"2": ["a", "c"]}
    assert [data["exception_message"] for data in bench.events.named("execution_error")] == ["Execution Blocked: no"]
    assert "execution_error" not in [event for event, _ in result.messages]


def test_a_blocker_is_kept_like_any_result():
    calls = []
    block = node_class("Block", lambda self: (calls.append(1) or ExecutionBlocker(None),))
    bench = Bench(block, text_node())
    for _ in range(2):
        bench.run({"1": node("Block"), "2": node("Show", value=("1", 0))})
    assert calls == [1]


# ---------------------------------------------------------------- 7: caching


def always(calls):
    def run(self, value):
        calls.append(value)
        return (value,)

    changed = classmethod(lambda cls, value: float("nan"))
    return node_class("Always", run, {"value": ("*",)}, IS_CHANGED=changed)


def test_nan_runs_the_node_once_a_prompt_and_all_below_it():
    calls, below = [], []
    bench = Bench(always(calls), text_node(calls=below))
    prompt = {"1": node("Always", value=1), "2": node("Show", value=("1", 0)), "3": node("Show", value=("1", 0))}
    for _ in range(2):
        bench.run(prompt)
    assert (calls, below) == ([1, 1], [1, 1])


def test_is_changed_sees_none_for_links_and_the_node_below_still_follows_its_source():
    seen = []

    def changed(cls, value, link):
        seen.append((value, link))
        return value

    calls = []
    look = node_class(
        "Look", lambda self, value, link: {"ui": {"text": [str(calls.append(link) or link)]}},
        {"value": ("INT",), "link": ("*",)}, output=True, returns=(), IS_CHANGED=classmethod(changed),
    )  # fmt: skip
    bench = Bench(echo(), look)
    for source in (1, 1, 2):
        bench.run({"1": node("Echo", value=source), "2": node("Look", value=5, link=("1", 0))})
    assert (seen, calls) == ([(5, None)] * 3, [1, 2])


def test_a_client_s_is_changed_stands_for_the_class_s_answer():
    calls = []
    bench = Bench(always(calls), text_node())
    for told in ("a", "a", "b"):
        bench.run({"1": {**node("Always", value=1), "is_changed": told}, "2": node("Show", value=("1", 0))})
    assert calls == [1, 1]


def test_a_client_s_is_changed_counts_only_for_classes_that_have_one():
    calls = []
    bench = Bench(text_node(calls=calls))
    for told in ("a", "b"):
        bench.run({"1": {**node("Show", value=1), "is_changed": told}})
    assert calls == [1]


def test_undeclared_inputs_count():
    calls = []
    bench = Bench(text_node(calls=calls))
    for odd in (1, 2):
        bench.run({"1": node("Show", value=1, odd=odd)})
    assert calls == [1, 1]


def test_extra_data_and_titles_do_not_count():
    calls = []
    bench = Bench(text_node(calls=calls))
    for title in ("a", "b"):
        bench.run({"1": {**node("Show", value=1), "_meta": {"title": title}}}, extra={"extra_pnginfo": {"w": title}})
    assert calls == [1]


def test_what_ran_before_an_interrupt_stays_cached():
    flag = InterruptFlag()
    calls = []

    def stop(self, value):
        calls.append(value)
        if len(calls) == 1:
            flag.set()
            current().check_interrupt()
        return {"ui": {"text": [value]}}

    first = []
    bench = Bench(echo(first), node_class("Stop", stop, {"value": ("*",)}, output=True, returns=()))
    prompt = {"1": node("Echo", value=7), "2": node("Stop", value=("1", 0))}
    assert bench.run(prompt, interrupt=flag).state == "interrupted"
    assert bench.run(prompt).state == "succeeded"
    assert (first, calls) == ([7], [7, 7])


def test_a_longer_chain_below_a_change_runs_and_nothing_beside_it():
    bench = Bench(echo(), text_node())

    def prompt(value):
        return {
            "a": node("Echo", value=value), "b": node("Echo", value=("a", 0)), "s": node("Show", value=("b", 0)),
            "x": node("Echo", value="still"), "y": node("Echo", value=("x", 0)), "t": node("Show", value=("y", 0)),
        }  # fmt: skip

    bench.run(prompt(1))
    bench.run(prompt(2))
    assert sorted(bench.events.executing) == ["a", "b", "s"]


# ---------------------------------------------------------------- 8: expansion


def test_objects_may_be_inputs_of_an_expansion_and_are_never_taken_for_equal():
    calls = []
    thing = object()

    def grow(self, value):
        return {"result": (["in", 0],), "expand": {"in": node("Echo", value=thing)}}

    bench = Bench(echo(calls), node_class("Grow", grow, {"value": ("*",)}), text_node())
    for value in (1, 2):
        bench.run({"1": node("Grow", value=value), "s": node("Show", value=("1", 0))})
    assert calls == [thing, thing]


def test_expanded_nodes_are_not_converted():
    def grow(self):
        return {"result": (["in", 0],), "expand": {"in": node("Whole", value="7")}}

    whole = node_class("Whole", lambda self, value: (value,), {"value": ("INT", {"min": 100})})
    bench = Bench(whole, node_class("Grow", grow), text_node())
    assert shown(bench.run({"1": node("Grow"), "s": node("Show", value=("1", 0))})) == {"s": ["7"]}


def test_a_display_id_of_an_expansion_is_shown():
    def grow(self):
        return {"result": (["in", 0],), "expand": {"in": {**node("Echo", value=1), "override_display_id": "s"}}}

    bench = Bench(echo(), node_class("Grow", grow), text_node())
    bench.run({"1": node("Grow"), "s": node("Show", value=("1", 0))})
    assert [data["display_node"] for data in bench.events.named("executing")] == ["1", "s", "s"]


def test_an_interrupt_inside_an_expansion_names_the_submitted_node():
    flag = InterruptFlag()

    def grow(self):
        flag.set()
        return {"result": (["in", 0],), "expand": {"in": node("Echo", value=1)}}

    bench = Bench(echo(), node_class("Grow", grow), text_node())
    result = bench.run({"1": node("Grow"), "s": node("Show", value=("1", 0))}, interrupt=flag)
    data = result.messages[-1][1]
    assert (result.state, data["node_id"], data["node_type"]) == ("interrupted", "1", "Grow")


# ---------------------------------------------------------------- 9 and 10: errors and progress


def test_a_failed_node_stays_running_in_the_progress():
    def fail(self):
        raise ValueError

    bench = Bench(node_class("Fail", fail, output=True, returns=()))
    bench.run({"1": node("Fail")})
    assert bench.events.named("progress_state")[-1]["nodes"]["1"]["state"] == "running"


def test_messages_bear_timestamps_in_milliseconds():
    result = Bench(text_node()).run({"1": node("Show", value="x")})
    assert [event for event, _ in result.messages] == ["execution_start", "execution_cached", "execution_success"]
    stamps = [data["timestamp"] for _, data in result.messages]
    assert all(isinstance(stamp, int) and stamp > 1_600_000_000_000 for stamp in stamps)
    assert stamps == sorted(stamps)


def test_outputs_of_what_ran_before_an_error_are_in_the_result():
    def fail(self, value):
        raise ValueError

    bench = Bench(text_node(), echo(), node_class("Fail", fail, {"value": ("*",)}, output=True, returns=()))
    prompt = {"1": node("Show", value="x"), "2": node("Fail", value=("3", 0)), "3": node("Echo", value=1)}
    assert shown(bench.run(prompt)) == {"1": ["x"]}


def test_everything_that_is_told_is_json():
    def odd(self):
        current().progress(1, 3)
        return {"ui": {"text": [float("nan"), 10**30]}}

    bench = Bench(node_class("Odd", odd, output=True, returns=()))
    result = bench.run({"1": node("Odd")})
    assert json.loads(json.dumps([bench.events.log, result.outputs, result.meta, result.messages]))


# ---------------------------------------------------------------- messages that help


def message_of(bench, prompt):
    return error_of(bench.run(prompt))["exception_message"]


def test_an_argument_that_is_missing_is_named_with_the_node_s_title_and_what_looks_like_it():
    bench = Bench(node_class("Scale", lambda self, image: (), {"?image": ("*",)}, output=True, returns=()))
    message = message_of(bench, {"4": {**node("Scale", imaeg=1), "_meta": {"title": "Smaller"}}})
    first, tip = message.split("\n")
    assert "image" in first
    assert tip == "\"Smaller\" (Scale, #4): Its input 'image' is not set; did you mean it by 'imaeg'?"


def test_an_undeclared_link_that_a_function_refuses_is_told_its_nearest_input():
    bench = Bench(echo(), node_class("Scale", lambda self, image=None: (), {"?image": ("*",)}, output=True, returns=()))
    message = message_of(bench, {"1": node("Echo", value=1), "4": node("Scale", imagee=("1", 0))})
    assert message.endswith("\nScale (#4): It has no input 'imagee'; did you mean 'image'?")


def test_a_link_to_nowhere_is_named():
    def fail(self, value):
        return (value.shape,)

    bench = Bench(node_class("Fail", fail, {"value": ("*",)}, output=True, returns=()))
    message = message_of(bench, {"10": node("Fail", value=("11", 0))})
    assert message.endswith("\nFail (#10): Its input 'value' links node '11', which does not exist.")


def test_an_empty_input_is_named_with_the_node_that_gave_nothing():
    def use(self, vae, size):
        return (vae.decode,)

    loads = node_class("Loads", lambda self: (None,), returns=("VAE",))
    bench = Bench(loads, node_class("Use", use, {"vae": ("VAE",), "size": ("INT",)}, output=True, returns=()))
    message = message_of(bench, {"1": node("Loads"), "2": node("Use", vae=("1", 0), size=3)})
    assert message.endswith("'decode'\nUse (#2): Its input 'vae' is empty: Loads (#1) gave no VAE.")


def test_inputs_of_shapes_that_do_not_fit_are_told_with_them():
    class Array:
        def __init__(self, *shape):
            self.shape = shape

    def blend(self, one, two, factor):
        raise RuntimeError("The size of tensor a (2) must match the size of tensor b (3) at dimension 0")

    makes = node_class("Makes", lambda self: (Array(2, 30, 40, 3), {"samples": Array(3, 4, 8, 8)}), returns=("A", "B"))
    inputs = {"one": ("A",), "two": ("B",), "factor": ("FLOAT",)}
    bench = Bench(makes, node_class("Blend", blend, inputs, output=True, returns=()))
    message = message_of(bench, {"1": node("Makes"), "2": node("Blend", one=("1", 0), two=("1", 1), factor=0.5)})
    tip = "Blend (#2): These inputs do not fit together: one 2 x 30 x 40 x 3, two 3 x 4 x 8 x 8."
    assert message.endswith(f"at dimension 0\n{tip}")


def test_errors_that_speak_for_themselves_get_no_advice():
    def fail(self):
        raise ValueError("no good")

    assert message_of(Bench(node_class("Fail", fail, output=True, returns=())), {"1": node("Fail")}) == "no good\n"
