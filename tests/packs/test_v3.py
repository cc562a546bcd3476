"""A pack in V3 on a real server: every kind of input and answer (reference/execution.md section 14)."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from tests.packs.client import node


def show(source: str, slot: int = 0) -> dict[str, object]:
    return node("V3Show", value=[source, slot])


async def texts(client, prompt, **more) -> dict[str, list[str]]:
    """What the nodes of a prompt that succeeds show."""
    ran = await client.run(prompt, **more)
    assert ran.ok, ran.error
    return {node_id: ui["text"] for node_id, ui in ran.outputs.items()}


async def test_classes_are_listed_as_v3(client):
    entry = (await client.get("/object_info/V3Number"))["V3Number"]
    assert entry == {
        "input": {
            "required": {"value": ["INT", {"tooltip": "Which.", "default": 1, "min": -100, "max": 100, "step": 1}]}
        },
        "input_order": {"required": ["value"]},
        "output": ["INT"],
        "output_is_list": [False],
        "output_name": ["number"],
        "output_tooltips": ["That one."],
        "name": "V3Number",
        "display_name": "V3 Number",
        "description": "A number.",
        "python_module": "custom_nodes.v3_nodes",
        "category": "tests",
        "output_node": False,
        "deprecated": False,
        "experimental": False,
        "api_node": False,
        "search_aliases": ["int"],
    }


async def test_values_lists_and_hidden_ids(client):
    prompt = {
        "1": node("V3Number", value=4),
        "2": node("V3ListOf", value1=["1", 0], value3=["1", 0]),
        "3": show("2"),
    }
    ran = await client.run(prompt)
    assert ran.outputs["3"] == {"text": ["4", "4"], "node": ["3"]}


async def test_growing_inputs(client):
    prompt = {
        "1": node("V3Number", value=4),
        "2": node("V3Grow", **{"numbers.number0": ["1", 0], "numbers.number1": 3, "numbers.number7": ["1", 0]}),
        "3": show("2", 0),
        "4": show("2", 1),
    }
    assert await texts(client, prompt) == {"3": ["11"], "4": ["number0,number1,number7"]}


async def test_missing_growing_input_is_refused_before_anything_runs(client):
    status, answer = await client.submit({"1": node("V3Grow", **{"numbers.number0": 1}), "2": show("1")})
    assert status == 400
    (error,) = answer["node_errors"]["1"]["errors"]
    assert (error["type"], error["details"]) == ("required_input_missing", "number1")
    assert error["extra_info"]["input_name"] == "numbers.number1"


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"mode": "constant", "mode.value": 7}, "7"),
        ({"mode": "sum", "mode.numbers.x": 2, "mode.numbers.y": 3}, "5"),
        ({"mode": "sum"}, "0"),
        ({"mode": "constant", "mode.value": 7, "offset": 2, "offset.times": 10}, "27"),
    ],
)
async def test_inputs_by_choice_and_slot(client, inputs, expected):
    assert await texts(client, {"1": node("V3Choose", **inputs), "2": show("1")}) == {"2": [expected]}


async def test_limits_hold_inside_a_choice(client):
    status, answer = await client.submit({"1": node("V3Choose", mode="constant", **{"mode.value": 11}), "2": show("1")})
    assert status == 400
    assert answer["node_errors"]["1"]["errors"][0]["extra_info"]["input_name"] == "mode.value"


async def test_only_the_needed_branch_is_computed(client):
    prompt = {
        "1": node("V3Number", value=1),
        "2": node("V3Number", value=2),
        "3": node("V3Switch", on=True, true=["1", 0], false=["2", 0]),
        "4": show("3"),
    }
    ran = await client.run(prompt)
    assert ran.outputs["4"]["text"] == ["1"]
    assert "2" not in [data["node"] for data in ran.of("executing")]


async def test_loops_by_expansion(client):
    assert await texts(client, {"1": node("V3Countdown", left=12, total=0), "2": show("1")}) == {"2": ["78"]}


async def test_async_nodes_tell_progress_without_progress_events(client):
    ran = await client.run({"1": node("V3Slow", value=5, steps=3, preview=False), "2": show("1")})
    states = [state["nodes"]["1"] for state in ran.of("progress_state") if "1" in state["nodes"]]
    assert [state["value"] for state in states if state["max"] == 3][:3] == [1, 2, 3]
    assert ran.of("progress") == []
    assert ran.outputs["2"]["text"] == ["5"]


async def test_ordinary_nodes_tell_progress(client):
    ran = await client.run({"1": node("V3Steps", value=6), "2": show("1")})
    assert [3, 4] in [[state["nodes"]["1"][key] for key in ("value", "max")] for state in ran.of("progress_state")]


async def test_progress_can_carry_a_picture(client):
    ran = await client.run({"1": node("V3Slow", value=7, steps=1, preview=True), "2": show("1")})
    (frame,) = ran.of("binary")
    kind, encoding = struct.unpack(">II", frame[:8])
    assert (kind, encoding) == (1, 1)
    assert Image.open(io.BytesIO(frame[8:])).size == (8, 8)


async def test_async_nodes_work_side_by_side(client):
    prompt = {str(index): node("V3Slow", value=index, steps=20, preview=False) for index in (11, 12)}
    prompt |= {"3": show("11"), "4": show("12")}
    ran = await client.run(prompt)
    together = [
        state for state in ran.of("progress_state")
        if all(state["nodes"].get(node_id, {}).get("state") == "running" for node_id in ("11", "12"))
    ]  # fmt: skip
    assert together


@pytest.mark.parametrize(
    ("how", "shown", "messages"), [("all", {}, 2), ("values", {"3": ["2"]}, 1), ("v1", {"3": ["2"]}, 0)]
)
async def test_blockers_stop_what_depends_on_them(client, how, shown, messages):
    prompt = {"1": node("V3Block", message=f"no {how}", how=how), "2": show("1", 0), "3": show("1", 1)}
    ran = await client.run(prompt)
    assert ran.ok
    assert {node_id: ui["text"] for node_id, ui in ran.outputs.items()} == shown
    assert [error["exception_message"] for error in ran.of("execution_error")] == [
        f"Execution Blocked: no {how}"
    ] * messages


async def test_failing_async_node_is_reported(client):
    ran = await client.run({"1": node("V3Fail", value=3)})
    assert not ran.ok
    assert ran.error["exception_type"] == "ValueError"
    assert ran.error["exception_message"].startswith("3 is no good")
    assert (ran.error["node_id"], ran.error["node_type"]) == ("1", "V3Fail")
    assert ran.error["current_inputs"] == {"value": [3]}


async def test_own_check_is_asked(client):
    status, answer = await client.submit({"1": node("V3Checked", value=7, kind="a"), "2": show("1")})
    assert status == 400
    (error,) = answer["node_errors"]["1"]["errors"]
    assert (error["type"], error["details"]) == ("custom_validation_failed", "value - seven is taken")


async def test_own_check_replaces_the_limits_of_the_inputs_it_takes(client):
    assert await texts(client, {"1": node("V3Checked", value=6, kind="a"), "2": show("1")}) == {"2": ["6"]}
    status, _ = await client.submit({"1": node("V3Checked", value=6, kind="c"), "2": show("1")})
    assert status == 400


async def test_fingerprint_decides_whether_a_node_runs_again(client):
    def prompt(mark, always=False):
        return {"1": node("V3Fingerprint", mark=mark, always=always), "2": show("1")}

    first = int((await texts(client, prompt("a")))["2"][0])
    again = int((await texts(client, prompt("a")))["2"][0])
    other = int((await texts(client, prompt("b")))["2"][0])
    always = [int((await texts(client, prompt("b", True)))["2"][0]) for _ in range(2)]
    assert [again - first, other - first, always[1] - always[0]] == [0, 1, 1]


async def test_previews_are_files_in_temp(client, packs_base):
    prompt = {"1": node("V3Picture", batch=2), "2": node("V3ShowPicture", image=["1", 0])}
    shown = (await client.run(prompt, extra_data={"extra_pnginfo": {"workflow": {"x": 1}}})).outputs["2"]
    assert shown["animated"] == [False]
    assert [file["type"] for file in shown["images"]] == ["temp", "temp"]
    with Image.open(packs_base / "temp" / shown["images"][0]["filename"]) as picture:
        assert (picture.size, picture.getpixel((0, 0))) == ((16, 8), (127, 127, 127))
        assert picture.text["workflow"] == '{"x": 1}'
        assert '"V3Picture"' in picture.text["prompt"]


async def test_masks_and_texts_are_shown(client):
    prompt = {
        "1": node("V3Picture", batch=1),
        "2": node("V3ShowPicture", mask=["1", 1]),
        "3": node("V3ShowPicture", text="hello"),
    }
    outputs = (await client.run(prompt)).outputs
    assert len(outputs["2"]["images"]) == 1
    assert outputs["3"] == {"text": ["hello"]}


@pytest.mark.parametrize(("format", "suffix"), [("png", ".png"), ("apng", ".png"), ("webp", ".webp")])
async def test_saved_pictures_lie_in_output(client, packs_base, format, suffix):
    prompt = {"1": node("V3Picture", batch=2), "2": node("V3ShowSaved", images=["1", 0], format=format)}
    ran = await client.run(prompt)
    assert ran.ok, ran.error
    shown = ran.outputs["2"]
    assert shown.get("animated") == (None if format == "png" else [True])
    assert {(file["subfolder"], file["type"]) for file in shown["images"]} == {("v3", "output")}
    for file in shown["images"]:
        assert file["filename"].endswith(suffix)
        with Image.open(packs_base / "output" / "v3" / file["filename"]) as picture:
            assert picture.size == (16, 8)
