"""Random graphs and edits: a cached run gives what a fresh one gives, and runs exactly what had to run."""

import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from executor.context import current
from executor.errors import InvalidPrompt
from executor.files import Folders
from executor.graph.cache import ClassicCache, LruCache, NoCache
from executor.graph.prompt import Prompt
from executor.graph.validate import validate
from executor.settings import Settings
from tests.unit.executor.graph.harness import Bench, node, node_class, shown

MOST_NODES = 8


def note_call():
    """Write down that the running node's function was called; fresh benches have no list for it."""
    context = current()
    if isinstance(context.services, list):
        context.services.append(context.node_id)


def mix(self, **inputs):
    note_call()
    return (json.dumps(inputs, sort_keys=True),)


def pick(self, first, on=None, off=None):
    note_call()
    return (on if first else off,)


def show(self, value=None):
    note_call()
    return {"ui": {"text": [str(value)]}}


LAZY = ("*", {"lazy": True})
CLASSES = [
    node_class("Mix", mix, {"?a": ("*",), "?b": ("*",), "?c": ("*",)}),
    node_class(
        "Pick",
        pick,
        {"first": ("BOOLEAN",), "?on": LAZY, "?off": LAZY},
        check_lazy_status=lambda self, first, on=None, off=None: ["on" if first else "off"],
    ),
    node_class("Show", show, {"?value": ("*",)}, output=True, returns=()),
]


@st.composite
def prompts(draw):
    """A graph without loops: every node links earlier ones only."""
    count = draw(st.integers(1, MOST_NODES))
    prompt = {}
    for index in range(count):
        earlier = [(name, 0) for name, item in prompt.items() if item["class_type"] != "Show"]
        source = st.sampled_from(earlier) if earlier else st.integers(0, 1)
        kind = draw(st.sampled_from(["Mix", "Mix", "Pick", "Show"]))
        if kind == "Mix":
            names = draw(st.sets(st.sampled_from("abc")))
            made = node("Mix", **{name: draw(st.one_of(st.integers(0, 1), source)) for name in sorted(names)})
        elif kind == "Pick":
            made = node("Pick", first=draw(st.booleans()), on=draw(source), off=draw(source))
        else:
            made = node("Show", value=draw(source))
        prompt[f"n{index}"] = made
    last = next((name for name in reversed(prompt) if prompt[name]["class_type"] != "Show"), None)
    prompt["end"] = node("Show", value=(last, 0) if last else 0)
    return prompt


class Model:
    """What a run has to do, computed by plain recursion."""

    def __init__(self, prompt):
        self.prompt = prompt

    def expression(self, node_id):
        """A text that is equal exactly for nodes with equal results by definition."""
        inputs = self.prompt[node_id]["inputs"].items()
        parts = {name: [self.expression(v[0])] if isinstance(v, list) else v for name, v in inputs}
        return json.dumps([self.prompt[node_id]["class_type"], parts], sort_keys=True)

    def sources(self, node_id):
        """The nodes whose results a node asks for."""
        item = self.prompt[node_id]
        names = list(item["inputs"])
        if item["class_type"] == "Pick":
            names = ["on" if item["inputs"]["first"] else "off"]
        return [item["inputs"][name][0] for name in names if isinstance(item["inputs"][name], list)]

    def needed(self, kept):
        """Expressions of the nodes that have to run, given those of results that are kept."""
        found, todo = set(), [name for name, item in self.prompt.items() if item["class_type"] == "Show"]
        while todo:
            node_id = todo.pop()
            if self.expression(node_id) not in kept:
                found.add(self.expression(node_id))
                todo += self.sources(node_id)
        return found


def recording(cache):
    """A bench that keeps the ids of the nodes whose functions were called, in order."""
    bench = Bench(*CLASSES, cache=cache)
    bench.services = []
    return bench


def ran(bench, model):
    """Expressions of the nodes that were called in the newest run, one line per call."""
    called = sorted(model.expression(node_id) for node_id in bench.services)
    bench.services = []
    return called


@settings(max_examples=40)
@given(st.lists(prompts(), min_size=1, max_size=4))
def test_with_classic_a_run_does_exactly_what_had_to_be_done(edits):
    bench = recording(ClassicCache())
    kept = set()
    for prompt in edits:
        model = Model(prompt)
        kept &= {model.expression(node_id) for node_id in prompt}
        expected = model.needed(kept)
        result = bench.run(prompt)
        assert ran(bench, model) == sorted(expected)
        assert shown(result) == shown(Bench(*CLASSES).run(prompt))
        kept |= expected


@settings(max_examples=40)
@given(st.lists(prompts(), min_size=1, max_size=4))
def test_with_a_large_lru_nothing_is_ever_done_twice(edits):
    bench = recording(LruCache(1000))
    kept = set()
    for prompt in edits:
        model = Model(prompt)
        expected = model.needed(kept)
        bench.run(prompt)
        assert ran(bench, model) == sorted(expected)
        kept |= expected


@settings(max_examples=40)
@given(st.lists(prompts(), min_size=2, max_size=5), st.integers(1, 4))
def test_with_a_small_lru_results_are_those_of_a_fresh_run(edits, limit):
    bench = Bench(*CLASSES, cache=LruCache(limit))
    for prompt in edits:
        result = bench.run(prompt)
        needed = Bench(*CLASSES).run(prompt)
        assert {name: shown(result)[name] for name in needed.outputs} == shown(needed)


@settings(max_examples=40)
@given(prompts())
def test_without_a_cache_every_needed_node_runs_once(prompt):
    bench = Bench(*CLASSES, cache=NoCache())
    result = bench.run(prompt)
    assert shown(result) == shown(Bench(*CLASSES).run(prompt))
    model = Model(prompt)
    needed, todo = set(), [name for name, item in prompt.items() if item["class_type"] == "Show"]
    while todo:
        node_id = todo.pop()
        if node_id not in needed:
            needed.add(node_id)
            todo += model.sources(node_id)
    finished = [node_id for node_id in bench.events.executing if prompt[node_id]["class_type"] != "Pick"]
    assert sorted(finished) == sorted(name for name in needed if prompt[name]["class_type"] != "Pick")


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
