"""The cache that drops results when memory runs short (`--cache-ram`)."""

import weakref

import pytest

from executor.graph.cache import Entry
from executor.graph.pressure import LOOK_EVERY_BYTES, LOOK_EVERY_S, PressureCache, make_cache
from tests.unit.executor.graph.harness import Bench, node, node_class, shown, text_node

MB = 1 << 20


class Memory:
    """A machine of so many bytes; what results hold is what they say: `{piece: bytes}`."""

    def __init__(self, total=100 * MB):
        self.total = total
        self.cache = None
        self.other = 0

    def free_bytes(self):
        lain = {}
        for kept in self.cache._entries.values():
            lain |= kept.pieces
        return self.total - self.other - sum(lain.values())

    def pieces(self, values):
        return {piece: size for (told,) in values if isinstance(told, dict) for piece, size in told.items()}


def made(headroom=10 * MB, **more):
    memory = Memory(**more)
    now = [0.0]
    memory.cache = cache = PressureCache(headroom, memory, clock=lambda: now[0], collect=list)

    def later():
        now[0] += 2 * LOOK_EVERY_S

    return cache, memory, later


def put(cache, name, pieces, seconds=1.0):
    cache.put(name.encode(), Entry(outputs=([pieces],), seconds=seconds))


def kept(cache, names):
    return [name for name in names if cache.get(name.encode()) is not None]


def relieved(cache, later, *needed):
    later()
    cache.relieve(lambda: [name.encode() for name in needed])


def test_results_of_every_prompt_are_kept_while_there_is_room():
    cache, _, later = made()
    for name in "abcd":
        cache.begin({name: name.encode()})
        put(cache, name, {ord(name): 20 * MB})
        relieved(cache, later)
    assert kept(cache, "abcd") == ["a", "b", "c", "d"]


def test_the_larger_of_two_goes_first():
    cache, memory, later = made()
    put(cache, "small", {1: 5 * MB})
    put(cache, "large", {2: 40 * MB})
    memory.other = 50 * MB
    relieved(cache, later)
    assert kept(cache, ["small", "large"]) == ["small"]


def test_the_older_of_two_goes_first():
    cache, memory, later = made()
    put(cache, "old", {1: 20 * MB})
    put(cache, "used", {2: 20 * MB})
    cache.begin({"1": b"used"})
    memory.other = 55 * MB
    relieved(cache, later)
    assert kept(cache, ["old", "used"]) == ["used"]


def test_the_cheaper_of_two_goes_first():
    cache, memory, later = made()
    put(cache, "cheap", {1: 20 * MB}, seconds=0.01)
    put(cache, "dear", {2: 20 * MB}, seconds=30.0)
    memory.other = 55 * MB
    relieved(cache, later)
    assert kept(cache, ["cheap", "dear"]) == ["dear"]


def test_no_more_goes_than_has_to():
    cache, memory, later = made()
    for name in "abcde":
        put(cache, name, {ord(name): 10 * MB})
    memory.other = 45 * MB  # 5 free, 10 wanted, 11 to be reached: one of 10 is enough
    relieved(cache, later)
    assert len(kept(cache, "abcde")) == 4


def test_what_pending_nodes_need_stays():
    cache, memory, later = made()
    put(cache, "needed", {1: 40 * MB})
    put(cache, "free", {2: 10 * MB})
    memory.other = 80 * MB
    relieved(cache, later, "needed")
    assert kept(cache, ["needed", "free"]) == ["needed"]


def test_memory_that_results_share_counts_once():
    cache, memory, later = made(total=70 * MB)
    put(cache, "a", {1: 40 * MB})
    put(cache, "view of a", {1: 40 * MB})
    assert memory.free_bytes() == 30 * MB
    memory.other = 25 * MB
    relieved(cache, later)
    assert kept(cache, ["a", "view of a"]) == []  # one alone frees nothing


def test_a_result_that_is_made_again_replaces_the_old_one():
    cache, memory, _ = made()
    put(cache, "a", {1: 40 * MB})
    put(cache, "a", {2: 30 * MB})
    assert memory.free_bytes() == 70 * MB
    assert cache._owners == {2: 1}


def test_memory_is_looked_at_now_and_then_or_after_much_that_is_new():
    looks = []
    cache, memory, later = made()
    memory.free_bytes = lambda: looks.append(1) or 100 * MB
    put(cache, "a", {1: 1})
    for _ in range(3):
        cache.relieve(list)
    assert len(looks) == 1
    put(cache, "b", {2: LOOK_EVERY_BYTES})
    cache.relieve(list)
    assert len(looks) == 2
    relieved(cache, later)
    assert len(looks) == 3


def test_instances_stay_as_long_as_their_node():
    cache, *_ = made()
    cache.begin({"a": b"a"})
    first = cache.instance("a", Bench)
    cache.begin({"a": b"b"})
    assert cache.instance("a", Bench) is first
    cache.begin({"b": b"b"})
    assert cache.instance("a", Bench) is not first


def test_clear_drops_everything():
    cache, *_ = made()
    put(cache, "a", {1: MB})
    first = cache.instance("a", Bench)
    cache.clear()
    assert (kept(cache, "a"), cache._owners, cache.instance("a", Bench) is first) == ([], {}, False)


def test_the_flag_makes_one_and_needs_a_gauge():
    cache = make_cache("ram", headroom_gb=2.0, gauge=Memory())
    assert (type(cache), cache.headroom_bytes) == (PressureCache, 2 << 30)
    with pytest.raises(ValueError, match="'ram'"):
        make_cache("ram")


# ---------------------------------------------------------------- in a run


class Block:
    """A result that holds a piece of memory."""


class FullMachine:
    """A machine that is short of memory from the start."""

    def free_bytes(self):
        return 0

    def pieces(self, values):
        return {id(item): MB for items in values for item in items if isinstance(item, Block)}


def test_a_run_on_a_full_machine_gives_its_results_and_keeps_nothing_it_has_used():
    alive = weakref.WeakSet()
    seen = []

    def make(self, block=None, other=None):
        made = Block()
        alive.add(made)
        seen.append(len(alive))
        return (made,)

    now = [0.0]

    def clock():
        now[0] += 1.0
        return now[0]

    bench = Bench(
        node_class("Make", make),
        node_class("Use", make, {"block": ("*",), "?other": ("INT",)}),
        text_node(),
        cache=PressureCache(MB, FullMachine(), clock=clock),
    )
    prompt = {"0": node("Make")}
    prompt |= {str(i): node("Use", block=(str(i - 1), 0), other=i) for i in range(1, 8)}
    prompt["end"] = node("Show", value=("7", 0))
    result = bench.run(prompt)
    assert result.state == "succeeded"
    assert len(shown(result)["end"]) == 1
    assert max(seen) <= 3  # the new one, the one it is made of, and the one before, dropped after the turn
