"""Calling nodes over lists, joining results, blockers (reference/execution.md section 5)."""

import pytest

from executor.contract.blocker import ExecutionBlocker
from tests.unit.executor.graph.harness import Bench, node, node_class, shown, text_node


def listed(*items, name="Items"):
    return node_class(name, lambda self: (list(items),), OUTPUT_IS_LIST=(True,))


def collect(calls, name="Collect", **attributes):
    def run(self, **inputs):
        calls.append(inputs)
        return ()

    return node_class(name, run, {"?a": ("*",), "?b": ("*",), "?c": ("*",)}, output=True, returns=(), **attributes)


def run(prompt, *classes):
    return Bench(*classes, text_node()).run(prompt)


def error_of(result):
    return result.messages[-1][1]["exception_message"]


def test_one_call_per_item_with_the_last_of_shorter_lists_repeated():
    calls = []
    prompt = {
        "1": node("Items"), "2": node("Pair"), "3": node("Collect", a=("1", 0), b=("2", 0), c=9),
    }  # fmt: skip
    run(prompt, listed(1, 2, 3), listed("x", "y", name="Pair"), collect(calls))
    assert calls == [{"a": 1, "b": "x", "c": 9}, {"a": 2, "b": "y", "c": 9}, {"a": 3, "b": "y", "c": 9}]


def test_no_inputs_make_one_call_without_arguments():
    calls = []
    run({"1": node("Collect")}, collect(calls))
    assert calls == [{}]


def test_an_empty_list_beside_items_is_an_error_that_names_the_input():
    prompt = {"1": node("Items"), "2": node("Collect", a=("1", 0), b=1)}
    result = run(prompt, listed(), collect([]))
    assert "'a'" in error_of(result)


def test_only_empty_lists_make_one_call_without_arguments():
    calls = []
    run({"1": node("Items"), "2": node("Collect", a=("1", 0))}, listed(), collect(calls))
    assert calls == [{}]


def test_a_node_that_takes_lists_gets_whole_lists_literals_too():
    calls = []
    prompt = {"1": node("Items"), "2": node("Collect", a=("1", 0), c=9)}
    run(prompt, listed(1, 2), collect(calls, INPUT_IS_LIST=True))
    assert calls == [{"a": [1, 2], "c": [9]}]


def test_a_node_that_takes_lists_cannot_change_what_others_get():
    def spoil(self, a):
        a.append("spoiled")
        return {"ui": {"text": [str(len(a))]}}

    spoiler = node_class("Spoil", spoil, {"a": ("*",)}, output=True, returns=(), INPUT_IS_LIST=True)
    prompt = {"1": node("Items"), "2": node("Spoil", a=("1", 0)), "3": node("Show", value=("1", 0))}
    assert shown(run(prompt, listed(1), spoiler))["3"] == ["1"]


def test_list_outputs_are_strung_together_and_others_collected():
    def split(self, value):
        return ([value, -value], [value])

    calls = []
    double = node_class("Split", split, {"value": ("*",)}, returns=("*", "*"), OUTPUT_IS_LIST=(True, False))
    prompt = {
        "1": node("Items"),
        "2": node("Split", value=("1", 0)),
        "3": node("Collect", a=("2", 0)),
        "4": node("Collect", b=("2", 1)),
    }
    run(prompt, listed(1, 2), double, collect(calls))
    assert [call["a"] for call in calls if "a" in call] == [1, -1, 2, -2]
    assert [call["b"] for call in calls if "b" in call] == [[1], [2]]


def test_ui_of_all_calls_is_strung_together():
    result = run({"1": node("Items"), "2": node("Show", value=("1", 0))}, listed("a", "b"))
    assert shown(result) == {"2": ["a", "b"]}


def test_ui_keys_that_a_later_call_lacks_are_an_error():
    def odd(self, value):
        return {"ui": {"text": ["x"], "more": [1]} if value == 1 else {"text": ["y"]}}

    maker = node_class("Odd", odd, {"value": ("*",)}, output=True, returns=())
    assert "more" in error_of(run({"1": node("Items"), "2": node("Odd", value=("1", 0))}, listed(1, 2), maker))


def test_a_dict_gives_ui_and_result():
    both = node_class("Both", lambda self: {"ui": {"text": ["u"]}, "result": (5,)}, output=True)
    assert shown(run({"1": node("Both"), "2": node("Show", value=("1", 0))}, both)) == {"1": ["u"], "2": ["5"]}


def test_nothing_returned_where_outputs_are_due_is_a_clear_error():
    result = run({"1": node("None_"), "2": node("Show", value=("1", 0))}, node_class("None_", lambda self: None))
    assert "None_ returned NoneType" in error_of(result)


def test_nothing_returned_by_a_node_without_outputs_is_fine():
    sink = node_class("Sink", lambda self: None, output=True, returns=())
    assert run({"1": node("Sink")}, sink).state == "succeeded"


def test_a_slot_beyond_the_outputs_gives_none():
    short = node_class("Short", lambda self: (1,), returns=("*", "*"))
    assert shown(run({"1": node("Short"), "2": node("Show", value=("1", 1))}, short)) == {"2": ["None"]}


def test_a_negative_slot_counts_from_the_end():
    pair = node_class("Pair", lambda self: (1, 2), returns=("*", "*"))
    assert shown(run({"1": node("Pair"), "2": node("Show", value=("1", -1))}, pair)) == {"2": ["2"]}


# ---------------------------------------------------------------- inputs


def test_undeclared_literals_are_dropped_and_undeclared_links_passed():
    calls = []
    prompt = {"1": node("Items"), "2": node("Collect", a=1, odd=2, linked=("1", 0))}
    run(prompt, listed(7), collect(calls))
    assert calls == [{"a": 1, "linked": 7}]


def test_a_hidden_dict_that_holds_any_name_lets_undeclared_literals_through():
    class Everything(dict):
        def __contains__(self, key):
            return True

    seen = []

    class Open:
        RETURN_TYPES = ()
        FUNCTION = "run"
        OUTPUT_NODE = True

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {}, "hidden": Everything(me="UNIQUE_ID")}

        def run(self, **inputs):
            seen.append(inputs)
            return ()

    run({"1": node("Open", odd=2)}, Open)
    assert seen == [{"odd": 2, "me": "1"}]


def test_a_raw_link_is_passed_as_it_is():
    calls = []
    raw = node_class(
        "Raw", lambda self, a: calls.append(a) or (), {"a": ("*", {"rawLink": True})}, output=True, returns=()
    )
    run({"1": node("Items"), "2": node("Raw", a=("1", 0))}, listed(7), raw)
    assert calls == [["1", 0]]


def test_a_wrapped_list_is_a_literal():
    calls = []
    run({"1": node("Collect", a={"__value__": ["1", 0]})}, collect(calls))
    assert calls == [{"a": ["1", 0]}]


def test_missing_optional_inputs_leave_the_functions_defaults():
    free = node_class("Free", lambda self, a=5: {"ui": {"text": [a]}}, {"?a": ("INT",)}, output=True, returns=())
    assert shown(run({"1": node("Free")}, free)) == {"1": [5]}


# ---------------------------------------------------------------- blockers


def block(message=None):
    return node_class("Block", lambda self: (ExecutionBlocker(message),))


BLOCKED = {"1": node("Block"), "2": node("Pass", value=("1", 0)), "3": node("Show", value=("2", 0))}
PASS = node_class("Pass", lambda self, value: (value,), {"value": ("*",)})


def test_a_silent_blocker_stops_what_is_below_and_the_prompt_succeeds():
    bench = Bench(block(), PASS, text_node())
    result = bench.run(BLOCKED)
    assert (result.state, result.outputs, bench.events.named("execution_error")) == ("succeeded", {}, [])


def test_a_blocker_with_a_message_is_told_once_by_its_first_consumer():
    bench = Bench(block("no picture"), PASS, text_node())
    result = bench.run(BLOCKED)
    assert bench.events.named("execution_error") == [
        {
            "prompt_id": "job",
            "node_id": "2",
            "node_type": "Pass",
            "executed": ["1"],
            "exception_message": "Execution Blocked: no picture",
            "exception_type": "ExecutionBlocked",
            "traceback": [],
            "current_inputs": [],
            "current_outputs": [],
        }
    ]
    assert bench.events.audiences["execution_error"] == "owner_or_all"
    assert result.messages[-1][0] == "execution_success"


def test_a_blocker_in_a_list_leaves_its_siblings_alone():
    mixed = listed(1, ExecutionBlocker(), 3)
    assert shown(run({"1": node("Items"), "2": node("Show", value=("1", 0))}, mixed)) == {"2": ["1", "3"]}


def test_a_node_that_takes_lists_is_blocked_by_any_item():
    calls = []
    prompt = {"1": node("Items"), "2": node("Collect", a=("1", 0))}
    run(prompt, listed(1, ExecutionBlocker()), collect(calls, INPUT_IS_LIST=True))
    assert calls == []


def test_a_blocker_instead_of_a_tuple_blocks_every_output():
    calls = []
    whole = node_class("Whole", lambda self: ExecutionBlocker(), returns=("*", "*"))
    run({"1": node("Whole"), "2": node("Collect", a=("1", 0)), "3": node("Collect", b=("1", 1))}, whole, collect(calls))
    assert calls == []


def test_a_blocker_in_place_of_a_list_output_is_one_item():
    calls = []
    odd = node_class("Odd", lambda self: (ExecutionBlocker(),), OUTPUT_IS_LIST=(True,))
    result = run({"1": node("Odd"), "2": node("Collect", a=("1", 0))}, odd, collect(calls))
    assert (calls, result.state) == ([], "succeeded")


# ---------------------------------------------------------------- lazy inputs


def switch(asked=None, *, check=True, **attributes):
    """Passes on one of two lazy inputs."""

    def run_switch(self, first, on=None, off=None):
        return (on if first else off,)

    def check_lazy_status(self, first, on=None, off=None):
        if asked is not None:
            asked.append((on, off))
        return ["on" if first else "off"]

    lazy = ("*", {"lazy": True})
    more = {"check_lazy_status": check_lazy_status} if check else {}
    return node_class("Switch", run_switch, {"first": ("BOOLEAN",), "on": lazy, "off": lazy}, **more, **attributes)


def counted(calls, name):
    return node_class(name, lambda self: (calls.append(name) or name,))


LAZY = {
    "a": node("A"), "b": node("B"), "s": node("Switch", first=True, on=("a", 0), off=("b", 0)),
    "out": node("Show", value=("s", 0)),
}  # fmt: skip


def test_only_the_lazy_input_that_is_asked_for_is_computed():
    calls = []
    result = run(LAZY, switch(), counted(calls, "A"), counted(calls, "B"))
    assert (calls, shown(result)) == (["A"], {"out": ["A"]})


def test_a_lazy_node_is_asked_again_when_what_it_wanted_is_there():
    asked = []
    bench = Bench(switch(asked), counted([], "A"), counted([], "B"), text_node())
    bench.run(LAZY)
    assert asked == [(None, None), ("A", None)]
    assert bench.events.executing == ["s", "a", "s", "out"]


def test_a_lazy_input_without_a_check_is_passed_as_none():
    calls = []
    result = run(LAZY, switch(check=False), counted(calls, "A"), counted(calls, "B"))
    assert (calls, shown(result)) == ([], {"out": ["None"]})


def test_a_lazy_input_computed_for_another_node_is_there_at_once():
    asked = []
    prompt = {"early": node("Show", value=("a", 0))} | LAZY
    result = run(prompt, switch(asked), counted([], "A"), counted([], "B"))
    assert shown(result)["out"] == ["A"]
    assert asked[-1] == ("A", None)


def test_asking_for_an_input_that_is_not_linked_is_an_error():
    prompt = {"s": node("Switch", first=True, off=None), "out": node("Show", value=("s", 0))}
    result = run(prompt, switch())
    assert "'on'" in error_of(result)


def test_a_literal_on_a_lazy_input_needs_nothing():
    prompt = {"s": node("Switch", first=True, on=5), "out": node("Show", value=("s", 0))}
    assert shown(run(prompt, switch())) == {"out": ["5"]}


def test_a_lazy_input_whose_slot_does_not_exist_is_none_in_the_end():
    prompt = LAZY | {"s": node("Switch", first=True, on=("a", 3))}
    assert shown(run(prompt, switch(), counted([], "A"), counted([], "B"))) == {"out": ["None"]}


def test_list_takers_see_a_missing_lazy_input_as_a_tuple_of_none():
    seen = []

    def check_lazy_status(self, on):
        seen.append(on)
        return [] if on != (None,) else ["on"]

    taker = node_class(
        "Taker", lambda self, on: (on[0],), {"on": ("*", {"lazy": True})}, INPUT_IS_LIST=True,
        check_lazy_status=check_lazy_status,
    )  # fmt: skip
    prompt = {"a": node("A"), "t": node("Taker", on=("a", 0)), "out": node("Show", value=("t", 0))}
    assert shown(run(prompt, taker, counted([], "A"))) == {"out": ["A"]}
    assert seen == [(None,), ["A"]]


@pytest.mark.parametrize("first", [True, False])
def test_a_lazy_check_may_be_async(first):
    async def check_lazy_status(self, first, on=None, off=None):
        return ["on" if first else "off"]

    lazy = ("*", {"lazy": True})
    cls = node_class(
        "Switch", lambda self, first, on=None, off=None: (on if first else off,),
        {"first": ("BOOLEAN",), "on": lazy, "off": lazy}, check_lazy_status=check_lazy_status,
    )  # fmt: skip
    calls = []
    prompt = LAZY | {"s": node("Switch", first=first, on=("a", 0), off=("b", 0))}
    run(prompt, cls, counted(calls, "A"), counted(calls, "B"))
    assert calls == ["A" if first else "B"]
