"""The recorded table: what got worse is told, a group replaces its older self, the page shows what is known."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from benchmarks.figures import Figure, absent
from benchmarks.record import MARGIN, Measured, machine, record, regressions, report, seconds_of

TIME = Figure(name="step", value=2.0, unit="ms", floor=1.0, floor_name="bare", most_ratio=3.0)
RATE = Figure(name="rate", value=8.0, unit="/s", floor=10.0, floor_name="alone", least_ratio=0.5)
ALONE = Figure(name="alone", value=5.0, unit="/s", least=1.0)
[COLD] = absent(["cold"], "no ice")
SLACK = 1.01  # beyond the margin


def taken(*figures):
    """A group of figures that took some seconds."""
    return Measured(figures=figures, seconds=3.21)


@pytest.fixture
def table(tmp_path):
    """A record of one group, and the page of it."""
    path, page = tmp_path / "recorded.json", tmp_path / "benchmarks.md"
    found = {"gpu": taken(*absent(["fast"], "no GPU")), "some": taken(TIME, RATE, ALONE, COLD)}
    record(found, machine(), ["some", "gpu", "later"], path, page)
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
    record({"other": taken(replace(TIME, name="another"))}, machine(), [], path, page)
    assert list(json.loads(path.read_text())["groups"]) == ["some", "gpu", "other"]


def test_groups_stand_in_the_order_of_their_names(table):
    path, page = table
    record({"later": taken(replace(TIME, name="another"))}, machine(), ["later", "gpu", "some"], path, page)
    assert list(json.loads(path.read_text())["groups"]) == ["later", "gpu", "some"]


def test_what_could_not_be_measured_takes_no_measured_groups_place(table):
    path, page = table
    record({"some": taken(*absent(["step"], "no step here"))}, machine(), [], path, page)
    assert report({"some": [replace(TIME, value=9.0)]}, path).endswith("step: 2.00x then, 9.00x now")
    assert "no step here" not in page.read_text()


def test_what_could_be_measured_takes_the_place_of_what_could_not(table):
    path, page = table
    record({"gpu": taken(replace(TIME, name="fast"))}, machine(), [], path, page)
    assert "no GPU" not in page.read_text()


def test_the_record_tells_how_long_a_group_took(table):
    assert seconds_of(table[0]) == {"some": 3.2, "gpu": 3.2}


def test_the_page_shows_figures_and_what_could_not_be_measured(table):
    text = table[1].read_text()
    assert "step" in text
    assert "2.00x" in text
    assert re.search(r"cold +not measured: no ice", text)
    assert "`gpu`: not measured: no GPU: fast" in text
    assert "`later`: not recorded yet" in text
