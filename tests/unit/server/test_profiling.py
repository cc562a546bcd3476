"""What `weft profile` takes for a workflow, and how it sums a trace up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from executor.errors import BadInput
from server.commands import profile
from server.profiling import kept, read_workflow, summary

GRAPH = {"1": {"class_type": "Say", "inputs": {"text": "x"}}}


@pytest.mark.parametrize("body", [GRAPH, {"prompt": GRAPH, "client_id": "me"}])
def test_a_workflow_is_a_graph_or_the_body_of_a_prompt(tmp_path: Path, body):
    (tmp_path / "w.json").write_text(json.dumps(body))
    assert read_workflow(tmp_path / "w.json") == GRAPH


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is not JSON"),
        ('{"nodes": [], "links": []}', "Export (API)"),
        ("[]", "no workflow in the API's form"),
        ("{}", "no workflow in the API's form"),
        ('{"1": {"inputs": {}}}', "no workflow in the API's form"),
        ('{"prompt": 3}', "no workflow in the API's form"),
    ],
)
def test_what_is_no_workflow_is_refused_with_its_file(tmp_path: Path, text, words):
    path = tmp_path / "w.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput) as refused:
        read_workflow(path)
    assert words in str(refused.value)
    assert str(path) in str(refused.value)


def test_the_command_tells_of_it_and_ends_with_status_1(tmp_path: Path, capsys):
    assert profile([str(tmp_path / "none.json"), "--base-directory", str(tmp_path)]) == 1
    assert "none.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["--torch"]])
def test_without_a_file_the_command_tells_its_usage(argv, capsys):
    with pytest.raises(SystemExit):
        profile(argv)
    assert "weft profile WORKFLOW.json" in capsys.readouterr().err


def test_a_trace_takes_neither_the_place_of_its_workflow_nor_that_of_another_run_that_never_was(tmp_path, capsys):
    path = tmp_path / "w.json"
    path.write_text(json.dumps(GRAPH))
    assert profile([str(path), "--out", str(path)]) == 1
    assert profile([str(tmp_path / "none.json"), "--out", str(path)]) == 1
    assert json.loads(path.read_text()) == GRAPH
    assert "is the workflow itself" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--help"], ["w.json", "-h"]])
def test_help_names_every_word(argv, capsys):
    assert profile(argv) == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("WORKFLOW.json", "--out", "--torch", "--warm", "--url"))


def span(group: str, row: str, dur: float) -> dict[str, object]:
    return {"ph": "X", "cat": group, "dur": dur, "args": {"row": row}}


def test_a_summary_has_the_longest_node_first_its_share_and_what_is_left():
    events = [
        span("nodes", "prompt", 4e6),
        span("nodes", "1 Load", 1e6),
        span("nodes", "2 Draw", 1e6),
        span("nodes", "2 Draw", 1e6),
        span("phases", "text encode", 5e5),
        {"ph": "M"},
        {"ph": "X", "cat": "operators", "dur": 9e9},
    ]
    rows = [line.rsplit(maxsplit=3) for line in summary({"traceEvents": events}).splitlines() if line.endswith("%")]
    assert rows == [
        ["2 Draw", "2", "2.000", "50.0%"],
        ["1 Load", "1", "1.000", "25.0%"],
        ["between nodes", "1", "1.000", "25.0%"],
        ["whole prompt", "1", "4.000", "100.0%"],
        ["text encode", "1", "0.500", "12.5%"],
    ]


def test_a_trace_of_nothing_is_summed_up_too():
    assert "whole prompt" in summary({"traceEvents": []})


def test_nodes_that_did_not_run_are_named():
    ran = {"ph": "X", "cat": "nodes", "dur": 1.0, "args": {"row": "1 Say", "node": "1"}}
    trace = {"traceEvents": [ran, span("phases", "text encode", 5e5), {"ph": "M"}]}
    assert kept(trace, {"1": {}}) == ""
    assert kept(trace, {"1": {}, "2": {}, "3": {}}).rstrip().endswith(": 2, 3")
