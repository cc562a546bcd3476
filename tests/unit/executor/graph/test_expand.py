"""Sub-graphs: the builder, and running what nodes expand to (reference/execution.md section 8)."""

import pytest

from executor.errors import DuplicateNodeError
from executor.graph.dynamic import DynamicPrompt, UnknownNodeId
from executor.graph.expand import GraphBuilder, add_graph_prefix, graft
from tests.unit.executor.graph.harness import Bench, node, node_class, shown, text_node

ADD = node_class("Add", lambda self, a, b: (a + b,), {"a": ("INT",), "b": ("INT",)}, returns=("INT",))


def twice(self, value):
    graph = GraphBuilder()
    first = graph.node("Add", a=value, b=1)
    second = graph.node("Add", a=first.out(0), b=10)
    return {"result": (second.out(0),), "expand": graph.finalize()}


TWICE = node_class("Twice", twice, {"value": ("INT",)})
PROMPT = {"5": node("Twice", value=1), "9": node("Show", value=("5", 0))}


def test_an_expansion_gives_its_links_values():
    bench = Bench(TWICE, ADD, text_node())
    assert shown(bench.run(PROMPT)) == {"9": ["12"]}


def test_ids_and_events_of_an_expansion():
    bench = Bench(TWICE, ADD, text_node())
    bench.run(PROMPT)
    told = [(data["node"], data["display_node"]) for data in bench.events.named("executing")]
    assert told == [("5", "5"), ("5.0.0.1", "5"), ("5.0.0.2", "5"), ("9", "9")]
    state = bench.events.named("progress_state")[-1]["nodes"]["5.0.0.1"]
    assert (state["parent_node_id"], state["real_node_id"], state["display_node_id"]) == ("5", "5", "5")


def test_the_executed_list_names_ephemeral_nodes():
    def fail(self, value):
        raise ValueError

    bench = Bench(TWICE, ADD, node_class("Fail", fail, {"value": ("*",)}, output=True, returns=()))
    result = bench.run({"5": node("Twice", value=1), "9": node("Fail", value=("5", 0))})
    assert result.messages[-1][1]["executed"] == ["5.0.0.1", "5.0.0.2", "5"]


def test_an_error_inside_names_the_submitted_node():
    def bad(self, value):
        graph = GraphBuilder()
        return {"result": (graph.node("Add", a="x", b=1).out(0),), "expand": graph.finalize()}

    result = Bench(node_class("Bad", bad, {"value": ("INT",)}), ADD, text_node()).run(
        {"5": node("Bad", value=1), "9": node("Show", value=("5", 0))}
    )
    data = result.messages[-1][1]
    assert (data["node_id"], data["node_type"], data["current_inputs"]) == ("5", "Bad", {"a": ["x"], "b": [1]})


def test_an_unknown_class_inside_is_an_error_of_the_submitted_node():
    def bad(self):
        return {"result": (["x", 0],), "expand": {"x": {"class_type": "NoSuch", "inputs": {}}}}

    result = Bench(node_class("Bad", bad), text_node()).run({"5": node("Bad"), "9": node("Show", value=("5", 0))})
    data = result.messages[-1][1]
    assert (data["node_id"], "NoSuch" in data["exception_message"]) == ("5", True)


def test_an_id_that_exists_is_refused():
    def bad(self):
        return {"result": (["9", 0],), "expand": {"9": node("Add", a=1, b=1)}}

    result = Bench(node_class("Bad", bad), ADD, text_node()).run({"5": node("Bad"), "9": node("Show", value=("5", 0))})
    data = result.messages[-1][1]
    assert (data["node_id"], data["exception_message"]) == ("5", "Attempt to add duplicate node 9\n")


def test_output_nodes_inside_run_and_are_listed_under_their_id():
    def show(self, value):
        graph = GraphBuilder()
        graph.node("Show", value=value)
        return {"result": (value,), "expand": graph.finalize()}

    bench = Bench(node_class("Inside", show, {"value": ("*",)}), text_node())
    prompt = {"5": node("Inside", value="in"), "9": node("Show", value=("5", 0))}
    result = bench.run(prompt)
    assert shown(result) == {"5.0.0.1": ["in"], "9": ["in"]}
    assert result.meta["5.0.0.1"] == {
        "node_id": "5.0.0.1", "display_node": "5", "parent_node": "5", "real_node_id": "5",
    }  # fmt: skip
    assert shown(bench.run(prompt)) == {"5.0.0.1": ["in"], "9": ["in"]}


def test_ui_beside_an_expansion_is_told_at_once():
    def both(self, value):
        graph = GraphBuilder()
        inner = graph.node("Add", a=value, b=1)
        return {"ui": {"text": ["first"]}, "result": (inner.out(0),), "expand": graph.finalize()}

    bench = Bench(node_class("Both", both, {"value": ("INT",)}, output=True), ADD)
    result = bench.run({"5": node("Both", value=1)})
    assert bench.events.order("executing", "executed") == [
        ("executing", "5"), ("executed", "5"), ("executing", "5.0.0.1"),
    ]  # fmt: skip
    assert shown(result) == {"5": ["first"]}


def test_mapped_calls_may_mix_expanding_and_plain_results():
    def maybe(self, value):
        if value < 10:
            return (value,)
        graph = GraphBuilder()
        return {"result": (graph.node("Add", a=value, b=1).out(0),), "expand": graph.finalize()}

    items = node_class("Items", lambda self: ([1, 10, 2],), OUTPUT_IS_LIST=(True,))
    bench = Bench(items, node_class("Maybe", maybe, {"value": ("INT",)}), ADD, text_node())
    result = bench.run({"1": node("Items"), "5": node("Maybe", value=("1", 0)), "9": node("Show", value=("5", 0))})
    assert shown(result) == {"9": ["1", "11", "2"]}


def test_a_linked_source_with_many_items_gives_them_all():
    def spread(self):
        graph = GraphBuilder()
        return {"result": (graph.node("Items").out(0), "plain"), "expand": graph.finalize()}

    items = node_class("Items", lambda self: ([1, 2],), OUTPUT_IS_LIST=(True,))
    bench = Bench(items, node_class("Spread", spread, returns=("*", "*")), text_node())
    prompt = {"5": node("Spread"), "8": node("Show", value=("5", 0)), "9": node("Show", value=("5", 1))}
    assert shown(bench.run(prompt)) == {"8": ["1", "2"], "9": ["plain"]}


def test_expansions_inside_expansions_stem_from_the_submitted_node():
    def outer(self, value):
        graph = GraphBuilder()
        inner = graph.node("Twice", value=value)
        return {"result": (inner.out(0),), "expand": graph.finalize()}

    bench = Bench(node_class("Outer", outer, {"value": ("INT",)}), TWICE, ADD, text_node())
    assert shown(bench.run({"5": node("Outer", value=1), "9": node("Show", value=("5", 0))})) == {"9": ["12"]}
    places = bench.events.named("progress_state")[-1]["nodes"]
    deep = places["5.0.0.1.0.0.1"]
    assert (deep["parent_node_id"], deep["real_node_id"], deep["display_node_id"]) == ("5.0.0.1", "5", "5")


def test_a_loop_is_an_expansion_that_clones_itself():
    def loop(self, count, total):
        if count == 0:
            return (total,)
        graph = GraphBuilder()
        step = graph.node("Add", a=total, b=2)
        again = graph.node("Loop", count=count - 1, total=step.out(0))
        return {"result": (again.out(0),), "expand": graph.finalize()}

    bench = Bench(node_class("Loop", loop, {"count": ("INT",), "total": ("INT",)}), ADD, text_node())
    prompt = {"5": node("Loop", count=30, total=0), "9": node("Show", value=("5", 0))}
    assert shown(bench.run(prompt)) == {"9": ["60"]}
    bench.run(prompt)
    assert bench.events.executing == []


def test_inner_results_are_kept_when_the_node_expands_again():
    def expand(self, value, other):
        graph = GraphBuilder()
        first = graph.node("Add", a=value, b=1)
        second = graph.node("Add", a=first.out(0), b=other)
        return {"result": (second.out(0),), "expand": graph.finalize()}

    bench = Bench(node_class("Expand", expand, {"value": ("INT",), "other": ("INT",)}), ADD, text_node())
    bench.run({"5": node("Expand", value=1, other=2), "9": node("Show", value=("5", 0))})
    bench.run({"5": node("Expand", value=1, other=3), "9": node("Show", value=("5", 0))})
    assert bench.events.executing == ["5", "5.0.0.2", "9"]


def test_expansions_may_link_submitted_nodes():
    def link(self, value, graph):
        return {"result": (["x", 0],), "expand": {"x": node("Add", a=("1", 0), b=1)}}

    const = node_class("Const", lambda self, value: (value,), {"value": ("INT",)})
    bench = Bench(const, node_class("Link", link, {"value": ("INT",), "#graph": "DYNPROMPT"}), ADD, text_node())
    prompt = {"1": node("Const", value=4), "5": node("Link", value=1), "9": node("Show", value=("5", 0))}
    assert shown(bench.run(prompt)) == {"9": ["5"]}


def test_a_cycle_inside_an_expansion_is_blamed_on_the_node_shown():
    def bad(self):
        expand = {"x": node("Add", a=("y", 0), b=1), "y": node("Add", a=("x", 0), b=1)}
        return {"result": (["x", 0],), "expand": expand}

    result = Bench(node_class("Bad", bad), ADD, text_node()).run({"5": node("Bad"), "9": node("Show", value=("5", 0))})
    data = result.messages[-1][1]
    assert (data["exception_type"], data["node_id"]) == ("graph.DependencyCycleError", "5")


# ---------------------------------------------------------------- builder


def test_builder_counts_ids_from_one_behind_its_prefix():
    graph = GraphBuilder("p.")
    assert [graph.node("A").id, graph.node("B").id, graph.node("C", "x").id] == ["p.1", "p.2", "p.x"]


def test_an_existing_id_gives_that_node():
    graph = GraphBuilder("p.")
    assert graph.node("A", "x") is graph.node("A", "x")
    assert graph.lookup_node("x") is graph.nodes["p.x"]


def test_prefixes_follow_the_call_and_count_graphs():
    GraphBuilder.set_default_prefix("7", 2)
    assert [GraphBuilder().prefix, GraphBuilder().prefix] == ["7.2.0.", "7.2.1."]


def test_inputs_are_set_and_deleted():
    made = GraphBuilder("").node("A", a=1)
    made.set_input("b", [1])
    made.set_input("a", None)
    assert (made.get_input("a"), made.inputs) == (None, {"b": [1]})


def test_an_output_can_be_replaced_everywhere():
    graph = GraphBuilder("p.")
    source = graph.node("A", "a")
    graph.node("B", "b", x=source.out(0), y=source.out(1))
    graph.replace_node_output("a", 0, 5)
    graph.replace_node_output("a", 1, None)
    graph.remove_node("a")
    assert graph.finalize() == {"p.b": {"class_type": "B", "inputs": {"x": 5}}}


def test_a_display_id_can_be_set():
    graph = GraphBuilder("")
    graph.node("A").set_override_display_id("3")
    assert graph.finalize()["1"]["override_display_id"] == "3"


def test_add_graph_prefix_renames_links_inside_only():
    graph, outputs = add_graph_prefix({"a": node("A", x=("a", 0), y=("out", 0))}, [["a", 1], 5], "p.")
    assert graph == {"p.a": {"class_type": "A", "inputs": {"x": ["p.a", 0], "y": ["out", 0]}}}
    assert outputs == (["p.a", 1], 5)


# ---------------------------------------------------------------- the graph that grows


def test_display_ids_are_resolved_to_the_top():
    graph = DynamicPrompt({"1": node("A"), "2": node("A")})
    graft(graph, "1", {"x": node("A"), "z": {**node("A"), "override_display_id": "2"}})
    graft(graph, "x", {"y": node("A")})
    assert [graph.get_display_node_id(name) for name in ("1", "x", "y", "z")] == ["1", "1", "1", "2"]
    assert [graph.get_real_node_id(name) for name in ("1", "x", "y", "z")] == ["1", "1", "1", "1"]
    assert [graph.get_parent_node_id(name) for name in ("1", "x", "y")] == [None, "1", "x"]
    assert graph.all_node_ids() == {"1", "2", "x", "y", "z"}


def test_taken_and_missing_ids_are_errors():
    graph = DynamicPrompt({"1": node("A")})
    with pytest.raises(DuplicateNodeError, match="duplicate node 1"):
        graft(graph, "1", {"1": node("A")})
    with pytest.raises(UnknownNodeId, match="'9'"):
        graph.get_node("9")
