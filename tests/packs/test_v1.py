"""V1 nodes of a pack take part in prompts in every way there is (reference/execution.md sections 2 to 9)."""

from __future__ import annotations

import json

from tests.packs.client import Client, node


def show(value: object) -> dict[str, object]:
    return node("V1 Show", value=value)


async def shown(client: Client, prompt: dict[str, object], by: str = "show") -> list[object]:
    ran = await client.run(prompt)
    assert ran.ok, ran.entry["status"]
    return ran.outputs[by]["values"]


async def test_lazy_input_that_is_not_needed_is_not_computed(client):
    used, spared = f"{client.id} a", f"{client.id} b"
    prompt = {
        "a": node("V1 Counted", value=1, key=used),
        "b": node("V1 Counted", value=2, key=spared),
        "either": node("V1 Either", first=True, a=["a", 0], b=["b", 0]),
        "used": node("V1 Runs", key=used, after=["either", 0]),
        "spared": node("V1 Runs", key=spared, after=["either", 0]),
        "show": show(["used", 0]),
        "show too": show(["spared", 0]),
    }
    ran = await client.run(prompt)
    assert [ran.outputs[name]["values"] for name in ("show", "show too")] == [[1], [0]]


async def test_names_that_an_open_dict_calls_lazy_are_not_computed_before_they_are_asked_for(client):
    spared = f"{client.id} spared"
    prompt = {
        "no": node("V1 Counted", value=0, key=""),
        "spared": node("V1 Counted", value=1, key=spared),
        "all": node("V1 AllOf", a=["no", 0], b=["spared", 0]),
        "runs": node("V1 Runs", key=spared, after=["all", 0]),
        "show": show(["all", 0]),
        "show too": show(["runs", 0]),
    }
    ran = await client.run(prompt)
    assert [ran.outputs[name]["values"] for name in ("show", "show too")] == [[0], [0]]


async def test_list_output_runs_the_next_node_for_each_item(client):
    prompt = {"n": node("V1 Count", n=4), "double": node("V1 Double", value=["n", 0]), "show": show(["double", 0])}
    assert await shown(client, prompt) == [0, 2, 4, 6]


async def test_list_input_takes_all_items_at_once(client):
    prompt = {"n": node("V1 Count", n=4), "total": node("V1 Total", values=["n", 0]), "show": show(["total", 0])}
    assert await shown(client, prompt) == [6]


async def test_expansion_that_expands_again_ends_in_its_value(client):
    prompt = {
        "n": node("V1 Counted", value=3, key=""),
        "repeat": node("V1 Repeat", value=["n", 0], times=4),
        "show": show(["repeat", 0]),
    }
    assert await shown(client, prompt) == [48]


async def test_silent_blocker_skips_what_depends_on_it(client):
    prompt = {
        "n": node("V1 Counted", value=3, key=""),
        "block": node("V1 Block", value=["n", 0], blocked=True, message=""),
        "double": node("V1 Double", value=["block", 0]),
        "show": show(["double", 0]),
        "free": show(["n", 0]),
    }
    ran = await client.run(prompt)
    assert ran.ok
    assert set(ran.outputs) == {"free"}


async def test_blocker_with_a_message_is_told(client):
    prompt = {
        "n": node("V1 Counted", value=3, key=""),
        "block": node("V1 Block", value=["n", 0], blocked=True, message="not today"),
        "show": show(["block", 0]),
    }
    ran = await client.run(prompt)
    (error,) = ran.of("execution_error")
    assert (error["node_id"], error["exception_message"]) == ("show", "Execution Blocked: not today")


async def test_coroutine_nodes_run_side_by_side(client):
    prompt = {
        "n": node("V1 Counted", value=1, key=""),
        "a": node("V1 Meet", value=["n", 0], parties=2),
        "b": node("V1 Meet", value=["n", 0], parties=2),
        "show": show(["a", 0]),
        "show too": show(["b", 0]),
    }
    assert (await client.run(prompt)).ok


async def test_steps_of_a_progress_bar_are_told(client):
    ran = await client.run({"1": node("RealWays Steps", steps=3), "2": node("V1 Show", value=["1", 0])})
    steps = [(data["value"], data["max"]) for data in ran.of("progress") if data["node"] == "1"]
    assert steps[-1] == (3, 3)


async def test_steps_told_in_a_thread_belong_to_the_node_that_began_last(client):
    ran = await client.run({"1": node("V1 InThread", steps=2), "show": show(["1", 0])})
    assert [(data["node"], data["value"], data["max"]) for data in ran.of("progress")] == [("1", 1, 2), ("1", 2, 2)]


async def test_interrupt_reaches_a_node_at_its_progress_bar(client):
    await _is_interrupted(client, by_bar=True)


async def test_interrupt_reaches_a_node_that_asks_for_it(client):
    await _is_interrupted(client, by_bar=False)


async def _is_interrupted(client: Client, *, by_bar: bool) -> None:
    status, answer = await client.submit({"1": node("V1 Slow", by_bar=by_bar), "2": show(["1", 0])})
    assert status == 200
    await client.heard("executing")
    await client.post("/interrupt", {"prompt_id": answer["prompt_id"]})
    ran = await client.ended(answer["prompt_id"])
    assert [event for event, _ in ran.entry["status"]["messages"]][-1] == "execution_interrupted"


async def test_own_check_refuses_a_value(client):
    status, answer = await client.submit({"1": node("V1 Checked", even=3)})
    assert status == 400
    (error,) = answer["node_errors"]["1"]["errors"]
    assert (error["type"], error["details"]) == ("custom_validation_failed", "even - 3 is odd")


async def test_own_check_decides_on_types(client):
    prompt = {"n": node("V1 Counted", value=1, key=""), "1": node("V1 Checked", even=2, linked=["n", 0])}
    _, answer = await client.submit(prompt)
    assert "no INT, please" in json.dumps(answer["node_errors"]["1"])


async def test_own_check_takes_the_place_of_limits(client):
    assert (await client.run({"1": node("V1 Checked", even=100)})).outputs["1"]["values"] == [100]


async def test_unchanged_fingerprint_keeps_the_result(client):
    prompt = {"1": node("V1 Versioned", bump=False), "show": show(["1", 0])}
    first = await shown(client, prompt)
    assert await shown(client, prompt) == first


async def test_changed_fingerprint_runs_the_node_again(client):
    prompt = {"1": node("V1 Versioned", bump=True), "show": show(["1", 0])}
    first = await shown(client, prompt)
    assert await shown(client, prompt) != first


async def test_same_inputs_run_once(client):
    prompt = {
        "n": node("V1 Counted", value=1, key=client.id),
        "runs": node("V1 Runs", key=client.id, after=["n", 0]),
        "show": show(["runs", 0]),
    }
    await shown(client, prompt)
    assert await shown(client, prompt) == [1]


async def test_tensors_of_built_in_nodes_reach_packs(client):
    prompt = {
        "image": node("EmptyImage", width=8, height=8, batch_size=1, color=0xFFFFFF),
        "mean": node("V1 Mean", image=["image", 0]),
        "show": show(["mean", 0]),
    }
    assert await shown(client, prompt) == [1.0]


async def test_error_of_a_node_names_it(client):
    ran = await client.run({"bad": node("V1 Fail", message="because"), "show": show(["bad", 0])})
    error = ran.error
    assert (error["node_id"], error["node_type"], error["exception_type"]) == ("bad", "V1 Fail", "ValueError")


async def test_prompt_after_a_failed_one_runs(client):
    await client.run({"bad": node("V1 Fail", message="because"), "show": show(["bad", 0])})
    assert await shown(client, {"n": node("V1 Counted", value=5, key=""), "show": show(["n", 0])}) == [5]
