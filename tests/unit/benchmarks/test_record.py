"""The recorded table: a group replaces its older self, last ratios are kept, the page shows what is known."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from benchmarks.figures import Figure, absent
from benchmarks.record import KEPT_RATIOS, Measured, machine, record, seconds_of

TIME = Figure(name="step", value=2.0, unit="ms", floor=1.0, floor_name="bare", most_ratio=3.0)
RATE = Figure(name="rate", value=8.0, unit="/s", floor=10.0, floor_name="alone", least_ratio=0.5)
ALONE = Figure(name="alone", value=5.0, unit="/s", least=1.0)
[COLD] = absent(["cold"], "no ice")


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


def test_the_last_ratios_of_a_figure_are_kept(table):
    path, page = table
    for value in (3.0, 4.0, 5.0, 6.0, 7.0):
        record({"some": taken(replace(TIME, value=value))}, machine(), [], path, page)
    (row,) = json.loads(path.read_text())["groups"]["some"]["figures"]
    assert (row["ratio"], row["ratios"]) == (7.0, [3.0, 4.0, 5.0, 6.0, 7.0])
    assert len(row["ratios"]) == KEPT_RATIOS


def test_a_row_of_an_older_record_gives_its_one_ratio(table):
    path, page = table
    told = json.loads(path.read_text())
    for row in told["groups"]["some"]["figures"]:
        del row["ratios"]
    path.write_text(json.dumps(told))
    record({"some": taken(replace(TIME, value=3.0), RATE, ALONE, COLD)}, machine(), [], path, page)
    rows = json.loads(path.read_text())["groups"]["some"]["figures"]
    assert [row["ratios"] for row in rows] == [[2.0, 3.0], [0.8, 0.8], [], []]


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
    assert [row["value"] for row in json.loads(path.read_text())["groups"]["some"]["figures"]] == [2.0, 8.0, 5.0, 0.0]
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
    assert re.search(r"\| `gpu` \| no GPU \| \d{4}-\d\d-\d\d \d\d:\d\d UTC \| fast \|", text)
    assert "| `later` | not recorded yet: `--only later` measures it |" in text


def test_a_group_without_figures_says_so(tmp_path):
    page = tmp_path / "benchmarks.md"
    record({"gpu": taken()}, machine(), [], tmp_path / "recorded.json", page)
    assert "| `gpu` | it gave no figure | " in page.read_text()
