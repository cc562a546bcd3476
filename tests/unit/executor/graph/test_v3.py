"""V3 nodes in the engine and in validation (reference/execution.md section 14)."""

from __future__ import annotations

import asyncio
import json

import pytest

from executor.contract.blocker import ExecutionBlocker
from executor.contract.v3 import io
from executor.files import Folders
from executor.graph.checks import answer
from executor.graph.expand import GraphBuilder
from executor.graph.prompt import Prompt
from executor.graph.validate import validate
from executor.settings import Settings
from tests.unit.executor.contract.v3.schemas import seen, v3_class
from tests.unit.executor.graph.harness import Bench, Table, node, shown, text_node

NUMBER = v3_class("Number", lambda cls, value: io.NodeOutput(value), [io.Int.Input("value")], [io.Int.Output()])
MANY = v3_class(
    "Many", lambda cls, count: io.NodeOutput(list(range(count))), [io.Int.Input("count")],
    [io.Int.Output(is_output_list=True)],
)  # fmt: skip
SHOW = text_node()
GROWING = io.Autogrow.Input("numbers", template=io.Autogrow.TemplatePrefix(io.Int.Input("n"), prefix="n", min=1, max=4))
LAZY_GROWING = io.Autogrow.Input(
    "numbers", template=io.Autogrow.TemplatePrefix(io.Int.Input("n", lazy=True), prefix="n", min=2, max=4)
)
MODE = io.DynamicCombo.Input(
    "mode",
    options=[
        io.DynamicCombo.Option("sized", [io.Int.Input("size", min=1, max=9)]),
        io.DynamicCombo.Option("plain", []),
    ],
)


def texts(bench: Bench, prompt, **more):
    """What the output nodes of a prompt show."""
    result = bench.run(prompt, **more)
    assert result.state == "succeeded", result.messages[-1]
    return shown(result)


def failure(bench: Bench, prompt):
    result = bench.run(prompt)
    assert result.state == "failed"
    return result.messages[-1][1]


def test_outputs_reach_v1_nodes():
    assert texts(Bench(NUMBER, SHOW), {"1": node("Number", value=3), "2": node("Show", value=("1", 0))}) == {"2": ["3"]}


def test_lists_are_mapped_and_joined():
    prompt = {"1": node("Many", count=3), "2": node("Show", value=("1", 0))}
    assert texts(Bench(MANY, SHOW), prompt) == {"2": ["0", "1", "2"]}


def test_input_list_takes_everything_at_once():
    prompt = {"1": node("Many", count=3), "2": node("See", value=("1", 0), other=7)}
    bench = Bench(MANY, seen(inputs=[io.Int.Input("value"), io.Int.Input("other")], is_input_list=True))
    assert texts(bench, prompt) == {"2": ["{'value': [0, 1, 2], 'other': [7]}"]}


def test_hidden_values_stand_on_the_class_even_beside_an_input_of_that_name():
    def execute(cls, prompt):
        return io.NodeOutput(ui={"text": [prompt, cls.hidden.unique_id, cls.hidden.prompt["1"]["class_type"]]})

    kinds = [io.Hidden.unique_id]
    cls = v3_class("Told", execute, [io.String.Input("prompt")], is_output_node=True, hidden=kinds)
    assert texts(Bench(cls), {"1": node("Told", prompt="a cat")}) == {"1": ["a cat", "1", "Told"]}


def test_secrets_are_given_to_api_nodes():
    cls = v3_class(
        "Api", lambda cls: io.NodeOutput(ui={"text": [cls.hidden.api_key_comfy_org]}), is_output_node=True,
        is_api_node=True,
    )  # fmt: skip
    assert texts(Bench(cls), {"1": node("Api")}, secrets={"api_key_comfy_org": "k"}) == {"1": ["k"]}


def test_state_cannot_be_kept_on_the_class():
    def execute(cls):
        cls.count = 1

    assert (
        "keeps no state"
        in failure(Bench(v3_class("Keep", execute, is_output_node=True)), {"1": node("Keep")})["exception_message"]
    )


def test_block_execution_blocks_without_values():
    cls = v3_class("Block", lambda cls: io.NodeOutput(block_execution="no"), outputs=[io.Int.Output(), io.Int.Output()])
    calls = []
    bench = Bench(cls, text_node(calls=calls))
    assert texts(bench, {"1": node("Block"), "2": node("Show", value=("1", 1))}) == {}
    assert calls == []
    assert bench.events.named("execution_error")[0]["exception_message"] == "Execution Blocked: no"


@pytest.mark.parametrize("result", [ExecutionBlocker(None), (ExecutionBlocker(None),)])
def test_blockers_are_silent_without_a_message(result):
    cls = v3_class("Block", lambda cls: result, outputs=[io.Int.Output()])
    bench = Bench(cls, SHOW)
    assert texts(bench, {"1": node("Block"), "2": node("Show", value=("1", 0))}) == {}
    assert bench.events.named("execution_error") == []


def test_v1_dicts_are_results():
    cls = v3_class("Old", lambda cls: {"result": (1,), "ui": {"text": ["ui"]}}, outputs=[io.Int.Output()])
    bench = Bench(cls, SHOW)
    assert texts(bench, {"1": node("Old"), "2": node("Show", value=("1", 0))}) == {"1": ["ui"], "2": ["1"]}


def test_graph_takes_the_node_s_place():
    def execute(cls, value):
        graph = GraphBuilder()
        inner = graph.node("Number", value=value * 2)
        return io.NodeOutput(inner.out(0), expand=graph.finalize())

    cls = v3_class("Twice", execute, [io.Int.Input("value")], [io.Int.Output()], enable_expand=True)
    prompt = {"1": node("Twice", value=4), "2": node("Show", value=("1", 0))}
    assert texts(Bench(cls, NUMBER, SHOW), prompt) == {"2": ["8"]}


def test_graph_without_leave_is_an_error():
    cls = v3_class("Twice", lambda cls: io.NodeOutput(expand={}), is_output_node=True)
    assert "enable_expand" in failure(Bench(cls), {"1": node("Twice")})["exception_message"]


def test_async_nodes_run_side_by_side():
    arrived = []

    async def execute(cls, value):
        arrived.append(value)
        while len(arrived) < 2:
            await asyncio.sleep(0)
        return io.NodeOutput(ui={"text": [str(value)]})

    cls = v3_class("Meet", execute, [io.Int.Input("value")], is_output_node=True)
    prompt = {"1": node("Meet", value=1), "2": node("Meet", value=2)}
    assert texts(Bench(cls), prompt) == {"1": ["1"], "2": ["2"]}


def test_fingerprint_decides_whether_a_node_runs_again():
    marks, calls = iter([1, 1, 2]), []

    def execute(cls, a):
        calls.append(a)
        return io.NodeOutput()

    cls = v3_class(
        "Watch", execute, [io.Int.Input("a")], is_output_node=True, fingerprint_inputs=lambda cls, a: next(marks)
    )
    bench = Bench(cls)
    for _ in range(3):
        bench.run({"1": node("Watch", a=1)})
    assert len(calls) == 2


def test_fingerprint_of_bytes_is_a_value():
    calls = []
    cls = v3_class(
        "Watch", lambda cls: calls.append(1), is_output_node=True, fingerprint_inputs=lambda cls: b"digest"
    )  # fmt: skip
    bench = Bench(cls)
    for _ in range(2):
        bench.run({"1": node("Watch")})
    assert len(calls) == 1


def test_lazy_check_asks_for_what_is_needed():
    inputs = [io.Boolean.Input("which"), io.Int.Input("a", lazy=True), io.Int.Input("b", lazy=True)]
    cls = v3_class(
        "Switch", lambda cls, which, a=None, b=None: io.NodeOutput(ui={"text": [str(a if which else b)]}), inputs,
        is_output_node=True,
        check_lazy_status=lambda cls, which, a=None, b=None: ["a"] if which and a is None else [],
    )  # fmt: skip
    bench = Bench(cls, NUMBER)
    prompt = {
        "1": node("Number", value=1), "2": node("Number", value=2),
        "3": node("Switch", which=True, a=("1", 0), b=("2", 0)),
    }  # fmt: skip
    assert texts(bench, prompt) == {"3": ["1"]}
    assert "2" not in bench.events.executing


def test_lazy_check_can_be_async():
    async def check_lazy_status(cls, a=None):
        await asyncio.sleep(0)
        return ["a"] if a is None else []

    cls = seen(inputs=[io.Int.Input("a", lazy=True)], check_lazy_status=check_lazy_status)
    assert texts(Bench(cls, NUMBER), {"1": node("Number", value=1), "2": node("See", a=("1", 0))}) == {
        "2": ["{'a': 1}"]
    }


def test_growing_inputs_come_as_a_dict():
    prompt = {"1": node("Number", value=5), "2": node("See", **{"numbers.n0": ("1", 0), "numbers.n2": 7})}
    assert texts(Bench(NUMBER, seen(inputs=[GROWING])), prompt) == {"2": ["{'numbers': {'n0': 5, 'n2': 7}}"]}


def test_growing_inputs_are_mapped_over_lists():
    prompt = {"1": node("Many", count=2), "2": node("See", **{"numbers.n0": ("1", 0), "numbers.n1": 7})}
    assert texts(Bench(MANY, seen(inputs=[GROWING])), prompt) == {
        "2": ["{'numbers': {'n0': 0, 'n1': 7}}", "{'numbers': {'n0': 1, 'n1': 7}}"]
    }


def test_growing_inputs_can_be_lazy():
    def check_lazy_status(cls, numbers):
        return [name for value, name in numbers.values() if value is None][:1]

    cls = seen(inputs=[LAZY_GROWING], check_lazy_status=check_lazy_status)
    prompt = {
        "1": node("Number", value=1), "2": node("Number", value=2),
        "3": node("See", **{"numbers.n0": ("1", 0), "numbers.n1": ("2", 0)}),
    }  # fmt: skip
    bench = Bench(cls, NUMBER)
    assert texts(bench, prompt) == {"3": ["{'numbers': {'n0': 1, 'n1': 2}}"]}
    assert bench.events.executing == ["3", "1", "3", "2", "3"]


def test_choice_comes_as_a_dict():
    assert texts(Bench(seen(inputs=[MODE])), {"1": node("See", mode="sized", **{"mode.size": 4})}) == {
        "1": ["{'mode': {'mode': 'sized', 'size': 4}}"]
    }


def test_blocker_in_a_growing_input_blocks():
    cls = v3_class("Block", lambda cls: io.NodeOutput(block_execution="no"), outputs=[io.Int.Output()])
    prompt = {"1": node("Block"), "2": node("See", **{"numbers.n0": ("1", 0)})}
    assert texts(Bench(cls, seen(inputs=[GROWING])), prompt) == {}


def test_expansion_may_fill_growing_inputs():
    def execute(cls):
        graph = GraphBuilder()
        made = graph.node("Number", value=2)
        graph.node("See", **{"numbers.n0": made.out(0)})
        return io.NodeOutput(expand=graph.finalize())

    cls = v3_class("Grow", execute, is_output_node=True, enable_expand=True)
    assert texts(Bench(cls, NUMBER, seen(inputs=[GROWING])), {"1": node("Grow")}) == {
        "1.0.0.2": ["{'numbers': {'n0': 2}}"]
    }


# ---------------------------------------------------------------- validation


def judged(tmp_path, prompt, *classes):
    """The errors of a prompt by node, with the classes' own checks asked."""
    table = Table(*classes)

    async def ask(request):
        return json.loads(json.dumps(await answer(table, request)))

    parsed = Prompt.parse(prompt, table.definitions)
    folders = Folders(Settings(base_directory=tmp_path))
    verdict = asyncio.run(validate(parsed, table.definitions, folders, ask=ask))
    return {node_id: found["errors"] for node_id, found in verdict.node_errors.items()}


def told(error):
    return error["type"], error["details"], error["extra_info"]["input_name"]


def test_missing_growing_input_is_named(tmp_path):
    (error,) = judged(tmp_path, {"1": node("See")}, seen(inputs=[GROWING]))["1"]
    assert told(error) == ("required_input_missing", "n0", "numbers.n0")


def test_values_of_the_chosen_option_are_checked(tmp_path):
    (error,) = judged(tmp_path, {"1": node("See", mode="sized", **{"mode.size": 12})}, seen(inputs=[MODE]))["1"]
    assert told(error) == ("value_bigger_than_max", "size", "mode.size")


def test_inputs_of_other_options_are_not_asked_for(tmp_path):
    assert judged(tmp_path, {"1": node("See", mode="plain")}, seen(inputs=[MODE])) == {}


def test_links_into_growing_inputs_are_checked(tmp_path):
    picture = v3_class("Picture", lambda cls: (None,), outputs=[io.Image.Output()])
    prompt = {"1": node("Picture"), "2": node("See", **{"numbers.n0": ("1", 0)})}
    (error,) = judged(tmp_path, prompt, seen(inputs=[GROWING]), picture)["2"]
    assert told(error) == (
        "return_type_mismatch", "n0, received_type(IMAGE) mismatch input_type(INT)", "numbers.n0"
    )  # fmt: skip


def test_matching_types_are_left_to_the_client(tmp_path):
    template = io.MatchType.Template("t")
    cls = seen(inputs=[io.MatchType.Input("a", template=template)])
    assert judged(tmp_path, {"1": node("Number", value=1), "2": node("See", a=("1", 0))}, cls, NUMBER) == {}


def test_own_check_gets_dicts_and_replaces_limits(tmp_path):
    def validate_inputs(cls, mode):
        return f"saw {mode}"

    cls = seen(inputs=[MODE], validate_inputs=validate_inputs)
    errors = judged(tmp_path, {"1": node("See", mode="sized", **{"mode.size": 12})}, cls)["1"]
    assert [error["details"] for error in errors] == [
        "mode - saw {'mode': 'sized', 'size': 12}", "size - saw {'mode': 'sized', 'size': 12}"
    ]  # fmt: skip


def test_own_check_may_be_async_and_judge_types(tmp_path):
    async def validate_inputs(cls, a, input_types):
        return input_types["a"] == "INT" or "wrong type"

    cls = seen(inputs=[io.Image.Input("a")], validate_inputs=validate_inputs)
    assert judged(tmp_path, {"1": node("Number", value=1), "2": node("See", a=("1", 0))}, cls, NUMBER) == {}


def test_multi_combo_takes_several_values(tmp_path):
    cls = seen(inputs=[io.MultiCombo.Input("a", options=["x", "y", "z"])])
    good = {"1": node("See", a={"__value__": ["x", "y", "z"]})}
    bad = {"1": node("See", a={"__value__": ["x", "q", "z"]})}
    assert judged(tmp_path, good, cls) == {}
    assert judged(tmp_path, bad, cls)["1"][0]["type"] == "value_not_in_list"
