"""The program of the benchmarks: which groups a run has, what it tells on the way, and that it leaves no large file."""

from __future__ import annotations

import sys

import pytest

from benchmarks import __main__ as program
from benchmarks import model_files
from benchmarks.figures import Figure

FIGURE = Figure(name="step", value=2.0, unit="ms", floor=1.0, floor_name="bare", most_ratio=3.0)


@pytest.mark.parametrize(
    ("long", "has_gpu", "left"),
    [
        (False, False, {"pictures_long"}),
        (False, True, {"pictures_long", "gpu_ways", "gpu_compiled"}),
        (True, True, set()),
    ],
)
def test_what_takes_long_is_measured_on_request(long, has_gpu, left):
    assert program.GROUPS.keys() - set(program.chosen(long=long, has_gpu=has_gpu)) == left


def test_a_run_tells_how_far_it_is_and_what_is_left(monkeypatch, capsys):
    monkeypatch.setattr(program, "GROUPS", {name: lambda: [FIGURE] for name in ("one", "two", "three")})
    monkeypatch.setattr(program, "seconds_of", lambda: {"two": 40.0, "three": 2.0})
    program.measure(["one", "two", "three"])
    told = [line for line in capsys.readouterr().err.splitlines() if not line.endswith("...")]
    assert told == ["[1/3] one: 0 s; left: two, three, about 42 s", "[2/3] two: 0 s; left: three, about 2 s",
                    "[3/3] three: 0 s"]  # fmt: skip


@pytest.mark.parametrize(("value", "status"), [(2.0, 0), (9.0, 1)])
def test_a_run_ends_with_the_table_and_its_time(monkeypatch, capsys, value, status):
    figure = Figure(name="step", value=value, unit="ms", floor=1.0, most_ratio=3.0)
    monkeypatch.setattr(program, "GROUPS", {"one": lambda: [figure]})
    monkeypatch.setattr(program.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "one"])
    assert program.main() == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("step ")
    assert lines[-1].startswith("measured in ")


def test_large_files_are_gone_after_a_run(monkeypatch, tmp_path):
    kept = tmp_path / "cache" / "full"
    monkeypatch.setattr(model_files, "KEPT", kept)
    monkeypatch.setattr(model_files, "write_random_checkpoint", lambda layout, path: path.write_bytes(b"x"))
    monkeypatch.delenv("WEFT_FULL_DIR", raising=False)
    with model_files.large_files():
        path = model_files.full_size()
        assert path.exists()
    assert list(kept.parent.iterdir()) == []


def test_large_files_stay_where_they_were_wanted(monkeypatch, tmp_path):
    monkeypatch.setattr(model_files, "write_random_checkpoint", lambda layout, path: path.write_bytes(b"x"))
    monkeypatch.setenv("WEFT_FULL_DIR", str(tmp_path / "mine"))
    with model_files.large_files():
        path = model_files.full_size()
    assert path.parent == tmp_path / "mine"
    assert path.exists()
