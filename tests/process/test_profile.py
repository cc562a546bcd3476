"""A profiled prompt of a small checkpoint: a row for each node and each phase, in the form that trace viewers open."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from executor.engine.inprocess import InProcessEngine
from executor.errors import BadInput
from executor.graph.call import Call
from executor.inference.samplers import Sampler
from executor.settings import Settings
from server.profiling import Order, profile, summary
from tests.tiny_checkpoint import write_tiny_checkpoint

Json = dict[str, Any]
STEPS = 3
CLOCK_US = 0.01  # what floats of microseconds cannot tell apart
SEEDS = {"seed": 1, "steps": STEPS, "cfg": 4.0, "sampler_name": "heun", "scheduler": "karras", "denoise": 1.0}
GRAPH: Json = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tiny.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["1", 1]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}},
    "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "5": {
        "class_type": "KSampler",
        "inputs": {"model": ["8", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0], **SEEDS},
    },
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
    "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "p"}},
    "8": {"class_type": "ModelMergeSimple", "inputs": {"model1": ["1", 0], "model2": ["1", 0], "ratio": 0.5}},
}


async def profiled(base: Path, **changes: str) -> Path:
    """The trace of the graph, with inputs of the last node changed."""
    (base / "models" / "checkpoints").mkdir(parents=True, exist_ok=True)
    write_tiny_checkpoint(base / "models" / "checkpoints" / "tiny.safetensors")
    settings = Settings(base_directory=base, vram_mode="cpu", disable_custom_nodes=True)
    graph = {**GRAPH, "7": {**GRAPH["7"], "inputs": {**GRAPH["7"]["inputs"], **changes}}}
    order = Order(prompt=graph, trace=base / "trace.json", operators=not changes)
    await profile(settings, InProcessEngine(settings), order)
    return order.trace


def rows(trace: Json, group: str) -> list[str]:
    return [event["args"]["row"] for event in trace["traceEvents"] if event["ph"] == "X" and event["cat"] == group]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """The trace that all tests look at."""
    return json.loads(asyncio.run(profiled(tmp_path_factory.mktemp("profile"))).read_text())


def intervals(trace: Json, row: str) -> list[tuple[float, float]]:
    """Begin and end of each span of a phase."""
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X" and event["args"].get("row") == row]
    return [(event["ts"], event["ts"] + event["dur"]) for event in spans]


def test_every_event_has_what_viewers_need(trace):
    for event in trace["traceEvents"]:
        assert event["ph"] in ("X", "M")
        assert isinstance(event["name"], str)
        assert all(isinstance(event[key], int) for key in ("pid", "tid"))
        assert event["ts"] >= 0
        assert event["ph"] == "M" or event["dur"] >= 0


def test_every_row_and_group_has_a_name(trace):
    named = {name: set() for name in ("process_name", "thread_name", "thread_sort_index")}
    for event in trace["traceEvents"]:
        if event["ph"] == "M" and event["name"] in named:
            named[event["name"]].add((event["pid"], event["tid"] if event["name"] != "process_name" else None))
    ours = [event for event in trace["traceEvents"] if event["ph"] == "X" and event["cat"] != "operators"]
    assert {(event["pid"], None) for event in ours} == named["process_name"]
    rows = {(event["pid"], event["tid"]) for event in ours}
    assert rows <= named["thread_name"]
    assert rows <= named["thread_sort_index"]


def test_spans_of_a_row_lie_behind_each_other(trace):
    rows: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in trace["traceEvents"]:
        if event["ph"] == "X" and event["cat"] != "operators":
            begin = event["ts"]
            rows.setdefault((event["pid"], event["tid"]), []).append((begin, begin + event["dur"]))
    for spans in rows.values():
        for (_, end), (begin, _) in pairwise(sorted(spans)):
            assert end <= begin + CLOCK_US


def test_each_node_has_a_row_with_its_call(trace):
    wanted = {f"{node_id} {node['class_type']}": 1 for node_id, node in GRAPH.items()}
    assert Counter(rows(trace, "nodes")) == {**wanted, "prompt": 1}


def test_each_phase_has_a_row(trace):
    found = Counter(rows(trace, "phases"))
    calls = 2 * STEPS - 1  # of the model, for Heun's method ends with a step of one
    assert found["sampling: step"] == STEPS
    assert found["sampling: model forward"] == calls
    assert found["text encode"] == 2
    assert found["modules: import and build"] == 3  # network, text encoder, VAE
    assert found["VAE decode"] == found["file write"] == 1
    assert set(found) >= {
        "weights: read",
        "weights: place",
        "weights: patch and merge",
        "sampling: guidance",
        "sampling: sampler arithmetic",
        "sampling: progress and previews",
        "picture encode",
    }


def test_a_merge_is_not_counted_as_placing(trace):
    (merge,) = intervals(trace, "weights: patch and merge")
    for begin, end in intervals(trace, "weights: place"):
        assert end <= merge[0] + CLOCK_US or merge[1] <= begin + CLOCK_US


def test_phases_of_a_step_lie_within_it_and_beside_each_other(trace):
    steps = intervals(trace, "sampling: step")
    parts = [
        (part, *interval)
        for part in ("model forward", "guidance", "sampler arithmetic", "progress and previews")
        for interval in intervals(trace, f"sampling: {part}")
    ]
    parts.sort(key=lambda part: part[1:])
    for (_, _, end), (_, begin, _) in pairwise(parts):
        assert end <= begin + CLOCK_US
    for begin, end in intervals(trace, "sampling: model forward"):
        assert any(one <= begin + CLOCK_US and end <= other + CLOCK_US for one, other in steps)


def test_operators_lie_within_the_nodes_that_ran_them(trace):
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    (decode,) = [event for event in events if event["name"] == "VAEDecode"]
    convolutions = [event for event in events if event["cat"] == "operators" and event["name"] == "aten::conv2d"]
    end = decode["ts"] + decode["dur"]
    assert any(decode["ts"] <= event["ts"] and event["ts"] + event["dur"] <= end for event in convolutions)


def test_a_summary_names_nodes_and_phases(trace):
    text = summary(trace)
    assert "5 KSampler" in text
    assert "sampling: model forward" in text


def test_functions_are_back_after_a_profile(trace):
    assert not hasattr(Call._one, "__wrapped__")
    assert not hasattr(Sampler.run, "__wrapped__")


async def test_a_prompt_that_fails_leaves_the_trace_of_what_ran(tmp_path):
    with pytest.raises(BadInput, match=r"node 7 \(SaveImage\)"):
        await profiled(tmp_path, filename_prefix="../../out")
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert "6 VAEDecode" in rows(trace, "nodes")
    assert "sampling: step" in rows(trace, "phases")


async def test_a_prompt_that_is_refused_tells_all_that_is_wrong(tmp_path):
    graph = {**GRAPH, "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0]}}}
    settings = Settings(base_directory=tmp_path, vram_mode="cpu", disable_custom_nodes=True)
    order = Order(prompt=graph, trace=tmp_path / "trace.json")
    with pytest.raises(BadInput, match="node 7 \\(SaveImage\\): Required input is missing"):
        await profile(settings, InProcessEngine(settings), order)
    assert not (tmp_path / "trace.json").exists()
