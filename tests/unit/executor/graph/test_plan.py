"""The order of nodes, and that planning touches each link a bounded number of times."""

import pytest

from executor.errors import NodeInputError
from executor.graph.components import components, is_loop
from executor.graph.dynamic import DynamicPrompt
from executor.graph.plan import Plan
from tests.unit.executor.graph.harness import node


class Facts:
    """What a plan asks, answered from sets; counts the questions."""

    def __init__(self, outputs=(), eager=(), lazy=()):
        self.outputs, self.eager, self.lazy = set(outputs), {*outputs, *eager}, set(lazy)
        self.there: set[str] = set()
        self.asked = 0

    def available(self, node_id):
        self.asked += 1
        return node_id in self.there

    def is_eager(self, node_id):
        self.asked += 1
        return node_id in self.eager

    def is_output(self, node_id):
        self.asked += 1
        return node_id in self.outputs

    def is_lazy(self, node_id, name):
        self.asked += 1
        return (node_id, name) in self.lazy

    def added(self, node_id):
        self.asked += 1


def chart(**sources):
    """A graph given as node -> the nodes it links, by inputs a, b, c ..."""
    return {
        name: node("N", **dict(zip("abcdefgh", ((s, 0) for s in links), strict=False)))
        for name, links in sources.items()
    }


def order(plan, facts):
    found = []
    while (node_id := plan.pick()) is not None:
        found.append(node_id)
        facts.there.add(node_id)
        plan.complete(node_id)
    return found


def planned(graph, facts, *targets):
    plan = Plan(DynamicPrompt(graph), facts)
    for target in targets:
        plan.add(target)
    return plan


def test_sources_come_before_their_users():
    facts = Facts(["d"])
    plan = planned(chart(a="", b="a", c="a", d="bc"), facts, "d")
    assert order(plan, facts) == ["a", "c", "b", "d"]
    assert not plan


def test_what_is_near_an_output_goes_first():
    facts = Facts(["o", "p"])
    plan = planned(chart(far="", x=["far"], y=["x"], o=["y"], two="", z=["two"], p=["z"]), facts, "o", "p")
    assert order(plan, facts) == ["two", "z", "p", "far", "x", "y", "o"]


def test_async_nodes_go_first():
    facts = Facts(["o"], eager=["slow"])
    plan = planned(chart(quick="", slow="", m=["slow"], n=["m"], o=["quick", "n"]), facts, "o")
    assert order(plan, facts)[0] == "slow"


def test_nodes_with_results_are_not_listed_but_targets_are():
    facts = Facts(["o"])
    facts.there = {"a"}
    plan = planned(chart(a="", b="a", o="b"), facts, "o", "a")
    assert "b" in plan
    assert order(plan, facts) == ["b", "o", "a"]


def test_lazy_links_wait_until_they_are_needed():
    facts = Facts(["o"], lazy=[("o", "a")])
    plan = planned(chart(x="", o="x"), facts, "o")
    assert plan.pick() == "o"
    plan.need("o", ["a"])
    plan.again("o")
    assert order(plan, facts) == ["x", "o"]


def test_a_need_whose_result_is_there_changes_nothing():
    facts = Facts(["o"], lazy=[("o", "a")])
    plan = planned(chart(x="", o="x"), facts, "o")
    facts.there.add("x")
    plan.pick()
    plan.need("o", ["a"])
    plan.again("o")
    assert plan.pick() == "o"


def test_needing_what_is_no_link_is_an_error():
    facts = Facts(["o"])
    plan = planned({"o": node("N", a=1)}, facts, "o")
    with pytest.raises(NodeInputError, match="'a', which is not linked"):
        plan.need("o", ["a"])
    with pytest.raises(NodeInputError, match="'b', which does not exist"):
        plan.need("o", ["b"])


def test_a_held_node_is_not_picked():
    facts = Facts(["o", "p"])
    plan = planned(chart(o="", p=""), facts, "o", "p")
    assert plan.pick() == "o"
    plan.hold("o")
    assert (plan.pick(), plan.pick(), plan.held()) == ("p", None, ["o"])
    plan.unhold("o")
    assert (plan.pick(), plan.held()) == ("o", [])


def test_a_loop_is_found_among_those_that_wait():
    facts = Facts(["o"])
    plan = planned(chart(a="b", b="c", c="a", o="a"), facts, "o")
    assert plan.pick() is None
    assert set(plan.loop()) == {"a", "b", "c"}


@pytest.mark.parametrize("shape", ["chain", "fan", "star"])
def test_planning_costs_the_same_per_node_however_many_there_are(shape):
    def cost(count):
        names = [str(i) for i in range(count)]
        match shape:
            case "chain":
                graph = chart(**{name: [names[i - 1]] if i else [] for i, name in enumerate(names)}, o=[names[-1]])
                outputs = ["o"]
            case "fan":  # one source, many outputs
                graph = chart(s="", **{name: ["s"] for name in names})
                outputs = names
            case _:  # many independent outputs
                graph = chart(**dict.fromkeys(names, ""))
                outputs = names
        facts = Facts(outputs)
        plan = planned(graph, facts, *outputs)
        assert len(order(plan, facts)) == len(graph)
        return facts.asked

    assert cost(800) <= 2.1 * cost(400)


def test_components_come_sources_first():
    edges = {"a": ["b"], "b": ["c"], "c": ["b"], "d": ["d"]}.__getitem__
    parts = components(["a", "d"], edges)
    assert parts == [["b", "c"], ["a"], ["d"]]
    assert [is_loop(part, edges) for part in parts] == [True, False, True]
