"""Lazy inputs, expansion, lists, blockers, coroutines and caches together, on a server started as ComfyUI's suites do.

`main.py` with a file of paths that names a folder of packs beside it, once for each way to keep results.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.packs.client import Client, Ran
from tests.packs.client import node as any_node
from tests.packs.conftest import until_ready
from tests.serving import serving

PATHS = Path(__file__).parent / "beside" / "paths.yaml"
MODES = {"classic": (), "lru": ("--cache-lru", "100"), "none": ("--cache-none",)}


def node(name: str, **inputs: object) -> dict[str, object]:
    return any_node(f"Interplay {name}", **inputs)


def show(source: str, slot: int = 0) -> dict[str, object]:
    return node("Show", value=[source, slot])


def calls(ran: Ran) -> set[str]:
    """The nodes that were run."""
    return {data["node"] for data in ran.of("executing") if data["node"] is not None}


@pytest.fixture(scope="module", params=list(MODES))
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def address(mode: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    base = tmp_path_factory.mktemp(mode)
    flags = ["--output-directory", str(base / "out"), "--listen", "127.0.0.1", "--extra-model-paths-config", str(PATHS)]
    with serving(base, *flags, "--cpu", *MODES[mode], module="main") as address:
        until_ready(address)
        yield address


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    async with Client(address) as client:
        yield client


async def test_a_lazy_branch_is_computed_when_it_is_first_wanted_and_kept(client: Client, mode: str):
    salt = uuid4().hex
    prompt = {
        "a": node("Same", value=f"a{salt}"), "b": node("Same", value=f"b{salt}"),
        "c": node("Choose", first=True, a=["a", 0], b=["b", 0]), "s": show("c"),
    }  # fmt: skip
    first = await client.run(prompt)
    assert (calls(first), first.outputs["s"]["shown"]) == ({"a", "c", "s"}, [f"a{salt}"])
    again = await client.run(prompt)
    assert calls(again) == ({"a", "c", "s"} if mode == "none" else set())
    assert sorted(again.of("execution_cached")[0]["nodes"]) == ([] if mode == "none" else ["a", "c", "s"])
    prompt["c"]["inputs"]["first"] = False
    other = await client.run(prompt)
    assert (calls(other), other.outputs["s"]["shown"]) == ({"b", "c", "s"}, [f"b{salt}"])


async def test_a_longer_expansion_computes_only_what_is_new(client: Client, mode: str):
    start = uuid4().int % 10**9
    prompt = {"n": node("Same", value=start), "c": node("Chain", start=["n", 0], count=3), "s": show("c")}
    assert (await client.run(prompt)).outputs["s"]["shown"] == [str(start + 3)]
    prompt["c"]["inputs"]["count"] = 5
    ran = await client.run(prompt)
    assert ran.outputs["s"]["shown"] == [str(start + 5)]
    inner = calls(ran) - {"n", "c", "s"}
    assert len(inner) == (5 if mode == "none" else 2)


async def test_a_loop_of_expansions(client: Client):
    start = uuid4().int % 10**9
    ran = await client.run({"l": node("Loop", number=start, left=60), "s": show("l")})
    assert ran.outputs["s"]["shown"] == [str(start + 60)]


async def test_blocked_expanded_and_plain_results_of_one_list(client: Client):
    prompt = {
        "c": node("Count", count=4), "m": node("Mixed", number=["c", 0]), "p": show("m", 2),
        "e": node("AddOne", number=["m", 0]), "q": any_node("PreviewAny", source=["e", 0]),
    }  # fmt: skip
    ran = await client.run(prompt)
    assert ran.ok, ran.error
    assert ran.outputs["p"]["shown"] == ["0", "1", "2", "3"]
    told = sorted(data["exception_message"] for data in ran.of("execution_error"))
    assert told == ["Execution Blocked: 1 is odd", "Execution Blocked: 3 is odd"]


@pytest.mark.parametrize("inside", [False, True])
async def test_coroutines_wait_for_each_other(client: Client, inside: bool):
    key = uuid4().hex
    if inside:
        prompt = {"m": node("MeetInside", value="v", key=key, parties=3), "s": show("m")}
    else:
        meets = {f"{place}": node("Meet", value=f"v{place}", key=key, parties=3) for place in range(3)}
        joined = node("Join", **{f"value{place}": [place, 0] for place in meets})
        prompt = {**meets, "m": joined, "s": show("m")}
    ran = await client.run(prompt)
    assert ran.outputs["s"]["shown"] == ["v0 v1 v2"]


async def test_equal_coroutines_run_once(client: Client):
    meet = node("Meet", value=1, key=uuid4().hex, parties=1)
    ran = await client.run({"a": meet, "b": meet, "s": show("a"), "t": show("b")})
    assert ran.outputs["s"] == ran.outputs["t"] == {"shown": ["1"]}


async def test_a_failing_coroutine_ends_those_that_still_wait(client: Client):
    prompt = {
        "w": node("Meet", value=1, key=uuid4().hex, parties=2), "f": node("Fail", value=uuid4().hex),
        "j": node("Join", value0=["w", 0], value1=["f", 0]), "s": show("j"),
    }  # fmt: skip
    ran = await client.run(prompt)
    assert (ran.error["node_id"], ran.error["exception_message"]) == ("f", "this coroutine fails\n")
    assert (await client.run({"s": node("Show", value=uuid4().hex)})).ok


async def test_what_always_changes_runs_with_all_that_depends_on_it(client: Client, mode: str):
    prompt = {
        "v": node("Same", value=uuid4().hex), "c": node("Sometimes", value=["v", 0], always=False),
        "a": node("AddOne", number=1), "s": show("c"),
    }  # fmt: skip
    await client.run(prompt)
    assert mode == "none" or calls(await client.run(prompt)) == set()
    prompt["c"]["inputs"]["always"] = True
    for _ in range(2):
        assert calls(await client.run(prompt)) == ({"v", "c", "s"} if mode == "none" else {"c", "s"})


async def test_a_check_that_awaits_refuses_values_and_types(client: Client):
    status, answer = await client.submit({"l": node("Limited", number=7, limit=5), "s": show("l")})
    assert (status, answer["node_errors"]["l"]["errors"][0]["details"]) == (400, "number - 7 is more than 5")
    image = any_node("EmptyImage", width=8, height=8, batch_size=1, color=0)
    status, answer = await client.submit({"i": image, "l": node("Limited", number=["i", 0], limit=5), "s": show("l")})
    assert status == 400
    assert "a IMAGE is no number" in answer["node_errors"]["l"]["errors"][0]["details"]
    assert (await client.run({"l": node("Limited", number=5, limit=5), "s": show("l")})).ok


async def test_a_lazy_input_behind_an_expansion_and_a_coroutine(client: Client):
    key, start = uuid4().hex, uuid4().int % 10**9
    prompt = {
        "n": node("Meet", value=start, key=key, parties=1), "c": node("Chain", start=["n", 0], count=2),
        "b": node("Fail", value=key), "x": node("Choose", first=True, a=["c", 0], b=["b", 0]), "s": show("x"),
    }  # fmt: skip
    ran = await client.run(prompt)
    assert ran.ok, ran.error
    assert ran.outputs["s"]["shown"] == [str(start + 2)]
    assert "b" not in calls(ran)
