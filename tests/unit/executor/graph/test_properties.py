"""Random graphs and edits: a cached run gives what a fresh one gives, and runs exactly what had to run."""

import asyncio
import json
from collections import Counter
from copy import deepcopy

from hypothesis import given, settings
from hypothesis import strategies as st

from executor.context import current
from executor.contract.blocker import ExecutionBlocker
from executor.errors import InvalidPrompt
from executor.files import Folders
from executor.graph.cache import ClassicCache, LruCache, NoCache
from executor.graph.expand import GraphBuilder
from executor.graph.pressure import PressureCache
from executor.graph.prompt import Prompt
from executor.graph.validate import validate
from executor.settings import Settings
from tests.unit.executor.graph.harness import Bench, node, node_class, shown
from tests.unit.executor.graph.model import BLOCKED, Model, grown, is_link

MOST_NODES = 9


def note_call(kind, **arguments):
    """Write down a call of a node's function; benches whose calls nobody counts have no list for it."""
    calls = current().services
    if isinstance(calls, list):
        calls.append(json.dumps([kind, arguments], sort_keys=True))


def mix(self, **inputs):
    note_call("Mix", **inputs)
    return (json.dumps(inputs, sort_keys=True),)


async def later(self, value):
    note_call("Later", value=value)
    for _ in range(3):
        await asyncio.sleep(0)
    return (json.dumps({"value": value}, sort_keys=True),)


def gather(self, value):
    note_call("Gather", value=value)
    return (json.dumps(value),)


def spread(self, value, count):
    note_call("Spread", value=value, count=count)
    return ([f"{value}/{number}" for number in range(count)],)


def pick(self, first, on=None, off=None):
    note_call("Pick", first=first, chosen=on if first else off)
    return (on if first else off,)


def block(self, value, shut):
    note_call("Block", value=value, shut=shut)
    return (ExecutionBlocker(None) if shut else value,)


def grow(self, value, depth, tag):
    note_call("Grow", value=value, depth=depth, tag=tag)
    plan, last = grown(value, depth, tag)
    graph = GraphBuilder()
    made = {}
    for name, (kind, inputs) in plan.items():
        linked = {key: made[item[0]].out(0) if is_link(item) else item for key, item in inputs.items()}
        made[name] = graph.node(kind, **linked)
    return {"result": (made[last].out(0),), "expand": graph.finalize()}


def show(self, value=None):
    note_call("Show", value=value)
    return {"ui": {"text": [str(value)]}}


ANY = ("*",)
LAZY = ("*", {"lazy": True})
CLASSES = [
    node_class("Mix", mix, {"?a": ANY, "?b": ANY, "?c": ANY}),
    node_class("Later", later, {"value": ANY}),
    node_class("Gather", gather, {"value": ANY}, INPUT_IS_LIST=True),
    node_class("Spread", spread, {"value": ANY, "count": ("INT",)}, OUTPUT_IS_LIST=(True,)),
    node_class(
        "Pick",
        pick,
        {"first": ("BOOLEAN",), "?on": LAZY, "?off": LAZY},
        check_lazy_status=lambda self, first, on=None, off=None: ["on" if first else "off"],
    ),
    node_class("Block", block, {"value": ANY, "shut": ("BOOLEAN",)}),
    node_class("Grow", grow, {"value": ANY, "depth": ("INT",), "tag": ("INT",)}),
    node_class("Show", show, {"?value": ANY}, output=True, returns=()),
]
KINDS = ["Mix", "Later", "Gather", "Spread", "Pick", "Block", "Grow", "Grow"]


# ---------------------------------------------------------------- graphs and edits


def drawn_node(draw, index, earlier):
    """A node that links earlier ones only."""
    source = st.sampled_from([(name, 0) for name in earlier]) if earlier else st.integers(0, 1)
    anything = st.one_of(source, st.integers(0, 1))
    match draw(st.sampled_from(KINDS)):
        case "Mix":
            names = sorted(draw(st.sets(st.sampled_from("abc"))))
            return node("Mix", **{name: draw(anything) for name in names})
        case "Spread":
            return node("Spread", value=draw(anything), count=draw(st.integers(1, 2)))
        case "Pick":
            return node("Pick", first=draw(st.booleans()), on=draw(source), off=draw(source))
        case "Block":
            return node("Block", value=draw(anything), shut=draw(st.booleans()))
        case "Grow":
            return node("Grow", value=draw(anything), depth=draw(st.integers(0, 2)), tag=index)
        case kind:
            return node(kind, value=draw(source))


def linkable(prompt):
    return [name for name, item in prompt.items() if item["class_type"] != "Show"]


def repaired(prompt):
    """The prompt without links to nodes that are gone or show, and with single values at lazy inputs.

    A lazy input that another node has computed is passed though nobody asked: a list or a blocker would then count.
    """
    fixed = {}
    for name, item in prompt.items():
        inputs = {}
        for key, value in item["inputs"].items():
            inputs[key] = value if not is_link(value) or value[0] in linkable(fixed) else 0
            if item["class_type"] == "Pick" and is_link(inputs[key]):
                items = Model(fixed).nodes[value[0]].items()
                inputs[key] = value if len(items) == 1 and BLOCKED not in items else 0
        fixed[name] = {**item, "inputs": inputs}
    return fixed


@st.composite
def prompts(draw):
    """A graph without loops that shows its last nodes."""
    prompt = {}
    for index in range(draw(st.integers(1, MOST_NODES))):
        prompt[f"n{index}"] = drawn_node(draw, index, linkable(prompt))
    for number, name in enumerate(linkable(prompt)[-3:]):
        prompt[f"end{number}"] = node("Show", value=(name, 0))
    prompt["end"] = node("Show", value=0)
    return repaired(prompt)


def tweaked(draw, item):
    """A node with one of its literals another."""
    literals = sorted(key for key, value in item["inputs"].items() if not is_link(value) and key != "tag")
    if not literals:
        return item
    key = draw(st.sampled_from(literals))
    values = {"first": st.booleans(), "shut": st.booleans(), "count": st.integers(1, 2), "depth": st.integers(0, 2)}
    return {**item, "inputs": {**item["inputs"], key: draw(values.get(key, st.integers(0, 1)))}}


@st.composite
def histories(draw, most=4):
    """Prompts, each an edit of the one before: a literal changed, nodes made anew or taken out."""
    found = [draw(prompts())]
    for _ in range(draw(st.integers(1, most - 1))):
        prompt = deepcopy(found[-1])
        for _ in range(draw(st.integers(0, 2))):
            chosen = draw(st.sampled_from(list(prompt)))
            match draw(st.sampled_from(["tweak", "tweak", "anew", "out"])) if chosen[0] == "n" else "none":
                case "tweak":
                    prompt[chosen] = tweaked(draw, prompt[chosen])
                case "anew":
                    before = dict(list(prompt.items())[: list(prompt).index(chosen)])
                    prompt[chosen] = drawn_node(draw, int(chosen[1:]), linkable(before))
                case "out":
                    del prompt[chosen]
        found.append(repaired(prompt))
    return found


# ---------------------------------------------------------------- what has to hold


def recording(cache):
    """A bench that keeps the calls of nodes' functions."""
    bench = Bench(*CLASSES, cache=cache)
    bench.services = []
    return bench


def ran(bench):
    """The calls of the newest run."""
    calls, bench.services = sorted(bench.services), []
    return calls


def calls_of(work):
    return sorted(call for calls in work.values() for call in calls)


@settings(max_examples=100)
@given(histories())
def test_with_classic_a_run_does_exactly_what_had_to_be_done(history):
    bench = recording(ClassicCache())
    kept, inner = set(), {}
    for prompt in history:
        model = Model(prompt)
        inner = {name: found for name, found in inner.items() if name in prompt}
        kept &= {each.expression for each in model.nodes.values()}.union(*inner.values())
        work = model.work(kept)
        result = bench.run(prompt)
        assert ran(bench) == calls_of(work)
        told = bench.events.named("execution_cached")[0]["nodes"]
        assert told == [name for name, each in model.nodes.items() if each.expression in kept]
        assert shown(result) == model.shown()
        kept |= set(work)
        inner |= {name: found for name in prompt if (found := model.inner(name, work))}


@settings(max_examples=100)
@given(histories())
def test_with_a_large_lru_nothing_is_ever_done_twice(history):
    bench = recording(LruCache(1000))
    kept = set()
    for prompt in history:
        model = Model(prompt)
        work = model.work(kept)
        result = bench.run(prompt)
        assert ran(bench) == calls_of(work)
        assert shown(result) == model.shown()
        kept |= set(work)


@settings(max_examples=30)
@given(histories(), st.integers(1, 4))
def test_with_a_small_lru_results_are_right_and_nothing_is_done_in_vain(history, limit):
    bench = recording(LruCache(limit))
    for prompt in history:
        model = Model(prompt)
        result = bench.run(prompt)
        assert shown(result) == model.shown()
        assert Counter(ran(bench)) <= Counter(calls_of(model.work(set())))


class Weather:
    """A gauge that tells drawn amounts of free memory, each again and again."""

    def __init__(self, amounts):
        self.amounts, self.asked = amounts, 0

    def free_bytes(self):
        self.asked += 1
        return self.amounts[self.asked % len(self.amounts)]

    def pieces(self, values):
        return {id(items): 8 for items in values}


@settings(max_examples=30)
@given(histories(), st.lists(st.integers(0, 99), min_size=1, max_size=7))
def test_under_pressure_every_node_runs_at_most_once_a_prompt_and_results_are_right(history, amounts):
    ticks = iter(range(10**9))
    bench = recording(PressureCache(50, Weather(amounts), clock=lambda: float(next(ticks)), collect=list))
    for prompt in history:
        model = Model(prompt)
        result = bench.run(prompt)
        assert shown(result) == model.shown()
        assert Counter(ran(bench)) <= Counter(model.every_call())  # of equal nodes the second may find nothing kept


@settings(max_examples=30)
@given(prompts())
def test_without_a_cache_everything_that_is_needed_runs(prompt):
    bench = recording(NoCache())
    model = Model(prompt)
    result = bench.run(prompt)
    assert shown(result) == model.shown()
    assert set(ran(bench)) == set(calls_of(model.work(set())))  # equal nodes run one by one
    assert bench.events.named("execution_cached")[0]["nodes"] == []


# ---------------------------------------------------------------- any JSON at all

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ids = st.sampled_from(["1", "2", "3"])
values = json_values | st.tuples(ids, st.integers(-2, 2)).map(list) | st.fixed_dictionaries({"__value__": json_values})
names = st.sampled_from(["a", "b", "on", "off", "first", "value", "number", "choice", "text"])
any_nodes = st.fixed_dictionaries(
    {
        "class_type": st.sampled_from(["Mix", "Pick", "Show", "Typed"]),
        "inputs": st.dictionaries(names, values, max_size=4),
    }
)
any_prompts = st.dictionaries(ids, any_nodes | any_nodes | json_values, max_size=3) | json_values

TYPED = node_class(
    "Typed",
    lambda self, **inputs: {"ui": {"text": [str(inputs)]}},
    {
        "?number": ("INT", {"min": 0, "max": 5}),
        "?text": ("STRING",),
        "?choice": (["a", 1],),
        "?a": ("FLOAT", {"max": 1}),
    },
    output=True,
)


@given(any_prompts)
def test_any_json_is_refused_or_judged_and_what_is_good_runs(tmp_path_factory, prompt):
    bench = Bench(*CLASSES, TYPED)
    try:
        parsed = Prompt.parse(prompt, bench.table.definitions)
    except InvalidPrompt:
        return
    folders = Folders(Settings(base_directory=tmp_path_factory.getbasetemp()))
    verdict = asyncio.run(validate(parsed, bench.table.definitions, folders))
    json.dumps([verdict.error, verdict.node_errors])
    if verdict.error is None:
        result = bench.run(verdict.prompt, verdict.targets)
        assert result.state in ("succeeded", "failed")
        json.dumps([result.outputs, result.meta, result.messages])
