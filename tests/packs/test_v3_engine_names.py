"""Packs that work with the engine: loops, contexts, type names, async checks (reference/execution.md 4, 5, 8, 13)."""

from __future__ import annotations

import pytest

from tests.packs.client import node


def show(source: str, slot: int = 0) -> dict[str, object]:
    return node("V3Show", value=[source, slot])


async def text(client, prompt, node_id: str) -> list[str]:
    ran = await client.run(prompt)
    assert ran.ok, ran.error
    return ran.outputs[node_id]["text"]


async def test_while_loop_clones_its_body(client):
    prompt = {
        "1": node("NamesWhileOpen", condition=True, value0=0, value1=["9", 0]),
        "2": node("NamesStep", value=["1", 1], limit=5),
        "3": node("NamesWhileClose", flow=["1", 0], condition=["2", 1], value0=["2", 0], value1=["1", 2]),
        "4": show("3", 0),
        "5": show("3", 1),
        "9": node("V3Number", value=42),
    }
    ran = await client.run(prompt)
    assert ran.ok, ran.error
    assert (ran.outputs["4"]["text"], ran.outputs["5"]["text"]) == (["5"], ["42"])
    steps = [data for data in ran.of("executing") if data.get("display_node") == "2"]
    assert len(steps) == 5


async def test_lazy_mixin_asks_for_everything(client):
    prompt = {
        "1": node("V3Number", value=3), "2": node("V3Number", value=4),
        "3": node("NamesLazySum", a=["1", 0], b=["2", 0]), "4": show("3"),
    }  # fmt: skip
    assert await text(client, prompt, "4") == ["7"]


async def test_running_call_is_known_everywhere(client):
    prompt = {
        "1": node("V3Number", value=3),
        "2": node("NamesItems", value1=["1", 0], value2=["1", 0], value3=["1", 0]),
        "3": node("NamesWhereAmI", value=["2", 0]),
    }
    assert await text(client, prompt, "3") == ["3/0/7/True", "3/1/7/True", "3/2/7/True"]


async def test_async_checks_are_awaited(client):
    prompt = {"1": node("V3Number", value=3), "2": node("NamesAsyncChecks", value=8, lazy=["1", 0]), "3": show("2")}
    assert await text(client, prompt, "3") == ["11"]
    prompt["2"] = node("NamesAsyncChecks", value=200, lazy=["1", 0])
    status, answer = await client.submit(prompt)
    assert status == 400
    assert answer["node_errors"]["2"]["errors"][0]["details"] == "value - 200 is too much"


async def test_expansion_waits_side_by_side(client):
    ran = await client.run({"1": node("NamesWaitForAll", count=5, seconds=0.2), "2": show("1")})
    assert ran.ok, ran.error
    assert ran.outputs["2"]["text"] == ["5"]
    most = max(
        sum(item["state"] == "running" and item["parent_node_id"] == "1" for item in state["nodes"].values())
        for state in ran.of("progress_state")
    )
    assert most == 5


async def test_some_calls_expand_and_others_return(client):
    prompt = {str(index): node("V3Number", value=index) for index in (1, 2, 3)}
    prompt |= {
        "4": node("NamesItems", value1=["1", 0], value2=["2", 0], value3=["3", 0]),
        "5": node("NamesMixed", value=["4", 0]),
        "6": show("5"),
    }
    assert await text(client, prompt, "6") == ["1", "21", "3"]


async def test_cycle_made_by_an_expansion_is_an_error(client):
    ran = await client.run({"1": node("NamesCycle"), "2": show("1")})
    assert not ran.ok
    assert ran.error["exception_message"].startswith("Dependency cycle detected")
    assert ran.error["node_id"] == "1"


async def test_failure_ends_what_works_beside_it(client):
    prompt = {
        "1": node("V3Number", value=1),
        "2": node("NamesWait", value=["1", 0], seconds=60.0),
        "3": show("2"),
        "4": node("NamesFails", value=["1", 0], seconds=0.05),
    }
    ran = await client.run(prompt)
    assert not ran.ok
    assert ran.error["node_id"] == "4"
    assert ran.error["exception_message"].startswith("failed on purpose")
    assert "3" not in ran.outputs
    good = await client.run({"1": node("V3Number", value=8), "2": show("1")})
    assert good.ok


async def test_async_node_is_interrupted(client):
    since = len(client.events)
    _, answer = await client.submit({"1": node("NamesWait", value=1, seconds=60.0), "2": show("1")})
    await client.until(lambda: any(name == "progress" for name, _ in client.events[since:]))
    await client.post("/interrupt")
    ran = await client.ended(answer["prompt_id"], since)
    assert [name for name, _ in ran.entry["status"]["messages"]][-1] == "execution_interrupted"


@pytest.mark.parametrize("mask", [["2", 1], None])
async def test_modules_answer_as_packs_expect(client, mask):
    prompt = {"1": node("NamesFacts", a=1, mask=mask), "2": node("V3Picture", batch=1)}
    (facts,) = (await client.run(prompt)).outputs["1"]["facts"]
    assert facts == {
        "info": ["MASK", "required", {"lazy": True}],
        "hidden": "hidden",
        "none": [None, None, None],
        "any": [False, False, True, True],
        "fits": [True, True, False, True, True, False],
        "v3": "IMAGE",
        "mask": None,
        "prompt": True,
    }
