"""The recorded table: what got worse is told, a group replaces its older self, the page shows what is known."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.figures import Figure
from benchmarks.record import MARGIN, machine, record, regressions, report

TIME = Figure(name="step", value=2.0, unit="ms", floor=1.0, floor_name="bare", most_ratio=3.0)
RATE = Figure(name="rate", value=8.0, unit="/s", floor=10.0, floor_name="alone", least_ratio=0.5)
ALONE = Figure(name="alone", value=5.0, unit="/s", least=1.0)
SLACK = 1.01  # beyond the margin


@pytest.fixture
def table(tmp_path):
    """A record of one group, and the page of it."""
    path, page = tmp_path / "recorded.json", tmp_path / "benchmarks.md"
    record({"some": [TIME, RATE, ALONE], "gpu": []}, machine(), ["some", "gpu", "later"], path, page)
    return path, page


@pytest.mark.parametrize(
    ("now", "worse"),
    [
        (TIME, []),
        (replace(TIME, value=2.0 * MARGIN / SLACK), []),
        (replace(TIME, value=2.0 * MARGIN * SLACK), ["step: 2.00x then, 2.52x now"]),
        (replace(TIME, value=20.0, floor=10.0), []),
        (replace(RATE, value=8.0 * MARGIN * SLACK), []),
        (replace(RATE, value=8.0 / MARGIN / SLACK), ["rate: 0.80x then, 0.63x now"]),
        (replace(ALONE, value=1.0), []),
        (replace(TIME, name="new", value=100.0), []),
    ],
    ids=["same", "within", "slower", "slower machine", "faster rate", "slower rate", "no floor", "not recorded"],
)
def test_what_got_worse_by_more_than_the_margin_is_told(table, now, worse):
    assert regressions({"some": [now]}, json.loads(table[0].read_text())) == worse


def test_the_report_names_what_got_worse(table):
    assert report({"some": [replace(TIME, value=9.0)]}, table[0]).splitlines()[1:] == ["  step: 2.00x then, 9.00x now"]


def test_the_report_says_when_nothing_did(table):
    assert report({"some": [TIME]}, table[0]).endswith("nothing got worse")


def test_without_a_record_there_is_nothing_to_compare_with(tmp_path):
    assert "no table was recorded" in report({"some": [TIME]}, tmp_path / "none.json")


def test_other_groups_stay_in_the_record(table):
    path, page = table
    record({"other": [replace(TIME, name="another")]}, machine(), [], path, page)
    assert list(json.loads(path.read_text())["groups"]) == ["some", "gpu", "other"]


def test_the_page_shows_figures_and_what_could_not_be_measured(table):
    text = table[1].read_text()
    assert "step" in text
    assert "2.00x" in text
    assert "`gpu`: the machine had no NVIDIA GPU" in text
    assert "`later`: not recorded yet" in text
