"""The engine's cost per node does not grow with the graph: calls of Python functions are counted, not time."""

import asyncio
import json
import sys
from collections.abc import Callable

import pytest

from executor.files import Folders
from executor.graph.cache import ClassicCache
from executor.graph.prompt import Prompt
from executor.graph.run import run_prompt
from executor.graph.validate import validate
from executor.messages import Run
from executor.settings import Settings
from tests.unit.executor.graph.harness import Table, node, node_class

SMALL, LARGE = 150, 450
ALLOWED = 1.1

TABLE = Table(
    node_class("Source", lambda self, value: (value,), {"value": ("INT",)}, returns=("INT",)),
    node_class("Join", lambda self, a, b=0: (a + b + 1,), {"a": ("INT",), "?b": ("INT",)}, returns=("INT",)),
    node_class("Sink", lambda self, value: {}, {"value": ("INT",)}, output=True, returns=()),
)


class Nobody:
    """Hears nothing."""

    def emit(self, event, data, audience):
        pass

    emit_json = emit

    def follow(self, sink):
        pass


def chain(count):
    graph = {"n0": node("Source", value=1)}
    graph |= {f"n{i}": node("Join", a=(f"n{i - 1}", 0)) for i in range(1, count)}
    return graph | {"end": node("Sink", value=(f"n{count - 1}", 0))}


def fan(count):
    """One source for all, and an output for each tenth."""
    graph = {"s": node("Source", value=1)}
    graph |= {f"n{i}": node("Join", a=("s", 0), b=i) for i in range(count)}
    return graph | {f"o{i}": node("Sink", value=(f"n{i}", 0)) for i in range(count)}


def lattice(count):
    graph = {f"n0.{k}": node("Source", value=k) for k in range(10)}
    for row in range(1, count // 10):
        for k in range(10):
            graph[f"n{row}.{k}"] = node("Join", a=(f"n{row - 1}.{k}", 0), b=(f"n{row - 1}.{(k + 1) % 10}", 0))
    last = count // 10 - 1
    return graph | {f"o{k}": node("Sink", value=(f"n{last}.{k}", 0)) for k in range(10)}


SHAPES = {"chain": chain, "fan": fan, "lattice": lattice}


def calls_in(work: Callable[[], object]) -> int:
    """Python functions that are called while something is done."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def run(graph, cache):
    targets = tuple(name for name, item in graph.items() if item["class_type"] == "Sink")
    job = Run(job_id="job", prompt_json=json.dumps(graph).encode(), targets=targets)
    result = asyncio.run(run_prompt(job=job, registry=TABLE, cache=cache, events=Nobody()))
    assert result.state == "succeeded"


def flat(cost: Callable[[int], float]) -> bool:
    return cost(LARGE) <= ALLOWED * cost(SMALL)


@pytest.mark.parametrize("shape", SHAPES)
def test_running_costs_the_same_per_node_fresh_and_cached(shape):
    def costs(count):
        graph, cache = SHAPES[shape](count), ClassicCache()
        return [calls_in(lambda: run(graph, cache)) / len(graph) for _ in range(2)]

    small, large = costs(SMALL), costs(LARGE)
    assert all(more <= ALLOWED * less for less, more in zip(small, large, strict=True)), (small, large)


@pytest.mark.parametrize("shape", SHAPES)
def test_validating_costs_the_same_per_node(shape, tmp_path):
    folders = Folders(Settings(base_directory=tmp_path))

    def cost(count):
        graph = SHAPES[shape](count)

        def check():
            prompt = Prompt.parse(graph, TABLE.definitions)
            verdict = asyncio.run(validate(prompt, TABLE.definitions, folders))
            assert verdict.error is None

        return calls_in(check) / len(graph)

    assert flat(cost)
