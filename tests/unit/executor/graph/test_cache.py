"""Keys and ways of keeping results (reference/execution.md section 7)."""

import pytest

from executor.contract.definition import FileChoices, InputDef, NodeDef
from executor.graph.cache import ClassicCache, Entry, LruCache, NoCache
from executor.graph.dynamic import DynamicPrompt
from executor.graph.pressure import make_cache
from executor.graph.signature import Signatures
from executor.worker.gauge import RamGauge
from tests.unit.executor.graph.harness import Bench, Table, node, node_class, shown, text_node


def nothing(self, **inputs):
    return ()


TABLE = Table(
    node_class("A", nothing, {"x": ("INT",)}),
    node_class("B", nothing, {"x": ("INT",)}),
    node_class("Named", nothing, {"#me": "UNIQUE_ID"}),
    node_class("Fickle", nothing, NOT_IDEMPOTENT=True),
    node_class("Raw", nothing, {"x": ("*", {"rawLink": True})}),
)


def keys_of(prompt, fingerprints=None):
    signatures = Signatures(DynamicPrompt(prompt), TABLE.definitions.get)
    signatures.add(prompt, fingerprints or {})
    return {node_id: signatures[node_id] for node_id in prompt}


def key_of(one):
    return keys_of({"1": one})["1"]


# ---------------------------------------------------------------- keys


def file_choice(source: str, name: str = "file") -> InputDef:
    return InputDef(name=name, type="COMBO", kind="required", choices=FileChoices(source=source))


def definition(*inputs: InputDef, **more: object) -> NodeDef:
    return NodeDef(name="N", display_name="N", category="", inputs=inputs, outputs=(), **more)


PLAIN = InputDef(name="x", type="INT", kind="required")


@pytest.mark.parametrize(
    ("told", "inputs", "shared"),
    [
        (definition(file_choice("checkpoints"), PLAIN), {"file": "a", "x": 1}, True),
        (definition(file_choice("input")), {"file": "a"}, False),
        (definition(PLAIN), {"x": 1}, False),
        (definition(file_choice("loras"), InputDef(name="x", type="MODEL", kind="required")), {"x": ["2", 0]}, False),
        (definition(file_choice("checkpoints"), is_output=True), {"file": "a"}, False),
        (definition(file_choice("checkpoints"), has_fingerprint=True), {"file": "a"}, False),
        (definition(file_choice("checkpoints"), pack="custom_nodes.x"), {"file": "a"}, False),
        (
            definition(file_choice("checkpoints"), InputDef(name="p", type="PROMPT", kind="hidden")),
            {"file": "a"},
            False,
        ),
        (None, {"x": 1}, False),
    ],
)
def test_owners_share_what_is_made_of_a_model_files_name_alone(told, inputs, shared):
    prompt = {"1": {"class_type": "N", "inputs": inputs}, "2": {"class_type": "N", "inputs": {}}}
    keys = []
    for owner in ("anna", "bert", ""):
        signatures = Signatures(DynamicPrompt(prompt), lambda name: told, owner)
        signatures.add(["1"], {})
        keys.append(signatures["1"])
    assert len(set(keys)) == (1 if shared else 3)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (node("A", x=1, y=2), {"class_type": "A", "inputs": {"y": 2, "x": 1}}),
        (node("A", x={"a": 1, "b": [2]}), node("A", x={"b": [2], "a": 1})),
        (node("A", x=1), node("A", x=1) | {"_meta": {"title": "T"}}),
    ],
)
def test_equal_nodes_have_equal_keys(one, other):
    assert key_of(one) == key_of(other)


def test_keys_do_not_depend_on_the_order_in_which_nodes_are_written():
    chain = {"0": node("A", x=1)} | {str(place): node("A", x=[str(place - 1), 0]) for place in range(1, 5)}
    assert keys_of(dict(reversed(chain.items()))) == keys_of(chain)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (node("A", x=1), node("B", x=1)),
        (node("A", x=1), node("A", x=2)),
        (node("A", x=1), node("A", y=1)),
        (node("A", x=1), node("A", x="1")),
        (node("A", x=1), node("A", x=True)),
        (node("A", x=1), node("A", x=1.0)),
        (node("A", x=1), node("A", x=1, undeclared=2)),
        (node("A", x=[]), node("A", x={})),
        (node("A", x=[[1], 2]), node("A", x=[[1, 2]])),
        (node("A", x="ab", y="c"), node("A", x="a", y="bc")),
        (node("A", x=10**40), node("A", x=10**40 + 1)),
    ],
)
def test_nodes_that_differ_have_different_keys(one, other):
    assert key_of(one) != key_of(other)


def test_a_change_far_up_reaches_every_key_below():
    def chain(value):
        return {"1": node("A", x=value), "2": node("B", x=("1", 0)), "3": node("A", x=("2", 0)), "9": node("A", x=5)}

    old, new = keys_of(chain(1)), keys_of(chain(2))
    assert [old[name] != new[name] for name in ("1", "2", "3", "9")] == [True, True, True, False]


def test_ids_do_not_count():
    first = keys_of({"1": node("A", x=1), "2": node("B", x=("1", 0))})
    second = keys_of({"7": node("B", x=("8", 0)), "8": node("A", x=1)})
    assert (first["1"], first["2"]) == (second["8"], second["7"])


def test_the_slot_counts():
    assert (
        keys_of({"1": node("A"), "2": node("B", x=("1", 0))})["2"]
        != keys_of({"1": node("A"), "2": node("B", x=("1", 1))})["2"]
    )


@pytest.mark.parametrize("class_type", ["Named", "Fickle"])
def test_ids_count_where_the_class_sees_or_wants_them(class_type):
    keys = keys_of({"1": node(class_type), "2": node(class_type)})
    assert keys["1"] != keys["2"]
    assert keys == keys_of({"1": node(class_type), "2": node(class_type)})


def test_a_raw_link_counts_with_its_id():
    first = keys_of({"1": node("A"), "2": node("Raw", x=("1", 0))})
    second = keys_of({"3": node("A"), "2": node("Raw", x=("3", 0))})
    assert first["2"] != second["2"]


def test_fingerprints_count_and_nan_equals_nothing():
    prompt = {"1": node("A")}
    assert keys_of(prompt, {"1": ["a"]}) == keys_of(prompt, {"1": ["a"]})
    assert keys_of(prompt, {"1": ["a"]}) != keys_of(prompt, {"1": ["b"]})
    assert keys_of(prompt, {"1": [float("nan")]}) != keys_of(prompt, {"1": [float("nan")]})


def test_objects_never_equal_anything():
    thing = object()
    assert key_of(node("A", x=thing)) != key_of(node("A", x=thing))


def test_loops_and_dangling_links_have_keys_too():
    keys = keys_of({"1": node("A", x=("2", 0)), "2": node("A", x=("1", 0)), "3": node("A", x=("nowhere", 0))})
    assert len(set(keys.values())) == 3


# ---------------------------------------------------------------- ways of keeping


def entry(value):
    return Entry(outputs=([value],))


def key(name):
    return name.encode()


def started(cache, *names):
    cache.begin({name: key(name) for name in names})
    for name in names:
        if cache.get(key(name)) is None:
            cache.put(key(name), entry(name))


def kept(cache, *names):
    return [name for name in names if cache.get(key(name)) is not None]


def test_classic_keeps_what_the_new_prompt_has():
    cache = ClassicCache()
    started(cache, "a", "b")
    started(cache, "b", "c")
    assert kept(cache, "a", "b", "c") == ["b", "c"]


def test_classic_keeps_inner_results_while_their_node_stays():
    cache = ClassicCache()
    started(cache, "a")
    cache.adopt("a", [key("inner")])
    cache.put(key("inner"), entry(1))
    for _ in range(3):
        started(cache, "a")
    assert kept(cache, "inner") == ["inner"]
    started(cache, "b")
    assert kept(cache, "inner") == []


def test_classic_drops_inner_results_that_a_new_expansion_lacks():
    cache = ClassicCache()
    started(cache, "a")
    cache.adopt("a", [key("old")])
    cache.put(key("old"), entry(1))
    started(cache, "a")
    cache.adopt("a", [key("new")])
    cache.put(key("new"), entry(1))
    started(cache, "a")
    assert kept(cache, "old", "new") == ["new"]


def test_lru_keeps_older_prompts_up_to_its_limit():
    cache = LruCache(3)
    started(cache, "a", "b")
    started(cache, "c")
    started(cache, "d")
    assert kept(cache, "a", "b", "c", "d") == ["a", "b", "c", "d"]
    started(cache, "c")
    assert kept(cache, "a", "b", "c", "d") == ["b", "c", "d"]


def test_lru_never_drops_the_current_prompt():
    cache = LruCache(1)
    started(cache, "a", "b", "c")
    cache.begin({name: key(name) for name in "abc"})
    assert kept(cache, "a", "b", "c") == ["a", "b", "c"]


def test_no_cache_keeps_nothing():
    cache = NoCache()
    started(cache, "a")
    assert kept(cache, "a") == []


@pytest.mark.parametrize("mode", ["classic", "lru"])
def test_instances_stay_with_their_node_and_class(mode):
    cache = make_cache(mode, 5)
    started(cache, "a", "b")
    first, second = cache.instance("a", Bench), cache.instance("b", Bench)
    assert first is not second
    started(cache, "a")
    assert cache.instance("a", Bench) is first
    assert cache.instance("b", Bench) is not second
    assert isinstance(cache.instance("a", text_node()), object)


@pytest.mark.parametrize("mode", ["classic", "lru", "none", "ram"])
def test_another_owner_gets_instances_of_its_own(mode):
    cache = make_cache(mode, 5, gauge=RamGauge())
    started(cache, "a")
    first = cache.instance("a", Bench)
    cache.part()
    assert cache.instance("a", Bench) is not first


@pytest.mark.parametrize("mode", ["classic", "lru", "none"])
def test_clear_drops_results_and_instances(mode):
    cache = make_cache(mode, 5)
    started(cache, "a")
    first = cache.instance("a", Bench)
    cache.clear()
    assert kept(cache, "a") == []
    assert cache.instance("a", Bench) is not first


@pytest.mark.parametrize(
    ("mode", "size", "kind"),
    [("classic", 0, ClassicCache), ("lru", 0, ClassicCache), ("lru", 4, LruCache), ("none", 0, NoCache)],
)
def test_cache_for_the_flags(mode, size, kind):
    assert type(make_cache(mode, size)) is kind


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="'more'"):
        make_cache("more")


# ---------------------------------------------------------------- in a run


def always(calls):
    def run(self, value):
        calls.append(value)
        return {"ui": {"text": [str(value)]}}

    changed = classmethod(lambda cls, value: float("nan"))
    return node_class("Always", run, {"value": ("*",)}, output=True, returns=(), IS_CHANGED=changed)


def test_a_nan_fingerprint_runs_every_time():
    calls = []
    bench = Bench(always(calls))
    for _ in range(2):
        bench.run({"1": node("Always", value=1)})
    assert calls == [1, 1]


def test_a_fingerprint_that_changed_runs_what_is_below():
    version = ["a"]
    source = node_class("Source", lambda self: (version[0],), IS_CHANGED=classmethod(lambda cls: version[0]))
    bench = Bench(source, text_node())
    prompt = {"1": node("Source"), "2": node("Show", value=("1", 0))}
    bench.run(prompt)
    bench.run(prompt)
    assert bench.events.executing == []
    version[0] = "b"
    assert shown(bench.run(prompt)) == {"2": ["b"]}


def test_with_lru_an_older_prompt_is_still_there():
    bench = Bench(text_node(), cache=LruCache(10))
    bench.run({"1": node("Show", value="a")})
    bench.run({"1": node("Show", value="b")})
    bench.run({"1": node("Show", value="a")})
    assert bench.events.executing == []


def test_without_a_cache_everything_runs_and_nothing_is_called_cached():
    calls = []
    bench = Bench(text_node(calls=calls), cache=NoCache())
    for _ in range(2):
        bench.run({"1": node("Show", value="a")})
    assert calls == ["a", "a"]
    assert bench.events.named("execution_cached")[0]["nodes"] == []


def test_without_a_cache_expansions_work():
    def expand(self, value):
        return {"result": (["x", 0],), "expand": {"x": node("Const", value=value)}}

    const = node_class("Const", lambda self, value: (value,), {"value": ("*",)})
    bench = Bench(const, node_class("Expand", expand, {"value": ("*",)}), text_node(), cache=NoCache())
    prompt = {"1": node("Const", value=4), "2": node("Expand", value=("1", 0)), "3": node("Show", value=("2", 0))}
    assert shown(bench.run(prompt)) == {"3": ["4"]}


def test_without_a_cache_a_dangling_link_elsewhere_is_no_trouble():
    bench = Bench(text_node(), cache=NoCache())
    prompt = {"1": node("Show", value="a"), "2": node("Show", value=("nowhere", 0))}
    assert bench.run(prompt, ["1"]).state == "succeeded"


class Big:
    """A result whose life is watched."""


def test_without_a_cache_a_result_goes_when_its_last_user_has_run():
    import gc
    import weakref

    seen = []
    alive = []

    def make(self):
        big = Big()
        seen.append(weakref.ref(big))
        return (big,)

    def use(self, big):
        return (1,)

    def watch(self, value):
        gc.collect()
        alive.append(seen[0]() is not None)
        return {"ui": {"text": ["x"]}}

    bench = Bench(
        node_class("Make", make),
        node_class("Use", use, {"big": ("*",)}),
        node_class("Watch", watch, {"value": ("*",)}, output=True, returns=()),
        cache=NoCache(),
    )
    bench.run({"1": node("Make"), "2": node("Use", big=("1", 0)), "3": node("Watch", value=("2", 0))})
    assert alive == [False]
