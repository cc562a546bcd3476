"""What `weft profile` takes for a workflow, and how it sums a trace up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from executor.errors import BadInput
from server import commands
from server.commands import profile
from server.profiling import NOTHING_RAN, kept, read_workflow, summary, sums

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


@pytest.mark.parametrize(("state", "short"), [("succeeded", True), ("failed", False)])
def test_of_a_run_whose_results_were_all_kept_a_line_says_what_helps(state, short):
    trace = {"traceEvents": [span("nodes", "prompt", 1e6)], "weft": {"state": state}}
    assert (sums(trace, GRAPH) == NOTHING_RAN) == short


def test_of_a_run_the_table_and_what_did_not_run_are_told():
    events = [{"ph": "X", "cat": "nodes", "dur": 1.0, "args": {"row": "2 Load", "node": "2"}}]
    told = sums({"traceEvents": events}, {**GRAPH, "2": {}})
    assert "2 Load" in told
    assert told.endswith("not reached): 1\n")


# ---------------------------------------------------------------- how the command ends


@pytest.fixture
def workflow(tmp_path: Path) -> str:
    path = tmp_path / "w.json"
    path.write_text(json.dumps(GRAPH))
    return str(path)


def test_a_folder_that_is_not_there_is_told_before_anything_runs(workflow, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "profile_at", lambda *_, **__: pytest.fail("it ran"))
    out = str(tmp_path / "no" / "x.json")
    assert profile([workflow, "--out", out, "--url", "http://127.0.0.1:1"]) == 1
    assert f"there is no folder {tmp_path / 'no'}\n" in capsys.readouterr().err


def test_ctrl_c_ends_it_with_a_line(workflow, tmp_path, monkeypatch, capsys):
    def stopped(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "profile_at", stopped)
    assert profile([workflow, "--out", str(tmp_path / "x.json"), "--url", "http://127.0.0.1:1"]) == 130
    assert capsys.readouterr() == ("", "weft: stopped\n")


def test_the_module_of_the_commands_says_how_they_are_called():
    done = subprocess.run(
        [sys.executable, "-m", "server.commands", "profile"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "`python -m server profile w.json`" in done.stderr
