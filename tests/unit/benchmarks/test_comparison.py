"""What changed since the recorded tables: which of it is told, and which makes a run fail."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.comparison import FAILING, MARGIN, changes, compared, report
from benchmarks.figures import Figure, absent

TIME = Figure(name="step", value=2.0, unit="ms", floor=1.0, floor_name="bare", most_ratio=30.0)
RATE = Figure(name="rate", value=8.0, unit="/s", floor=10.0, floor_name="alone", least_ratio=0.1)
ALONE = Figure(name="alone", value=5.0, unit="/s", least=4.0)
[COLD] = absent(["cold"], "no ice")
SLACK = 1.01  # beyond the margin


def recorded(**ratios: list[float]) -> dict[str, object]:
    """A record of the figures, some with more ratios than their own."""
    rows = [{**figure.row(), "ratios": ratios.get(figure.name, [figure.ratio])} for figure in (TIME, RATE, ALONE, COLD)]
    return {"groups": {"some": {"figures": rows}}}


def told(now: Figure, **ratios: list[float]) -> list[tuple[str, str]]:
    """What is said of a figure."""
    return [(change.kind, change.text) for change in changes({"some": [now]}, recorded(**ratios))]


@pytest.mark.parametrize(
    ("now", "worse"),
    [
        (TIME, []),
        (replace(TIME, value=2.0 * MARGIN / SLACK), []),
        (replace(TIME, value=2.0 * MARGIN * SLACK), ["step: 2.00x at worst then, 2.52x now, target <= 30x"]),
        (replace(TIME, value=20.0, floor=10.0), []),
        (replace(RATE, value=8.0 * MARGIN * SLACK), []),
        (replace(RATE, value=8.0 / MARGIN / SLACK), ["rate: 0.80x at worst then, 0.63x now, target >= 0.1x"]),
        (replace(ALONE, value=4.0), []),
        (replace(TIME, name="new", value=10.0), []),
        (absent(["step"], "no step here")[0], []),
    ],
    ids=["same", "within", "slower", "slower machine", "rate up", "rate down", "no floor", "not recorded", "absent"],
)
def test_a_ratio_beyond_the_margin_is_worse(now: Figure, worse: list[str]):
    assert told(now) == [("worse", text) for text in worse]


def test_a_ratio_is_worse_only_beside_the_worst_recorded_one():
    now = replace(TIME, value=3.0)
    assert told(now, step=[2.0, 2.5, 2.0]) == [("moved", "step: 2.00x to 2.50x then, 3.00x now, target <= 30x")]
    assert told(now, step=[2.0, 2.5, 2.5]) == told(now, step=[2.0, 3.0, 2.0]) == []
    assert told(replace(RATE, value=6.0), rate=[0.8, 0.7, 0.8])[0][0] == "moved"


def test_a_target_that_was_met_is_missed():
    now = replace(ALONE, value=3.0)
    assert told(now) == [("missed", "alone: 3.000 /s, 5.000 /s in the record, target >= 4")]
    slow = replace(TIME, value=40.0)
    assert told(slow) == [("missed", "step: 40.000 ms (40.00x), 2.000 ms (2.00x) in the record, target <= 30x")]
    assert told(replace(now, name="new")) == [("missed", "new: 3.000 /s, target >= 4")]


def test_a_target_that_was_missed_before_fails_no_run_until_it_gets_worse():
    missed = replace(TIME, most_ratio=1.5)
    before = {"groups": {"some": {"figures": [missed.row()]}}}
    (still,) = changes({"some": [missed]}, before)
    assert (still.kind, still.kind in FAILING) == ("still missed", False)
    (worse,) = changes({"some": [replace(missed, value=2.0 * MARGIN * SLACK)]}, before)
    assert (worse.kind, worse.kind in FAILING) == ("worse", True)


def test_a_row_of_the_first_records_is_compared_by_its_one_ratio():
    row = {key: value for key, value in TIME.row().items() if key != "absent"}
    (worse,) = changes({"some": [replace(TIME, value=9.0)]}, {"groups": {"some": {"figures": [row]}}})
    assert worse.kind == "worse"


def test_the_report_names_what_fails_first(tmp_path):
    path = tmp_path / "recorded.json"
    path.write_text(json.dumps(recorded(step=[2.0, 2.5, 2.0])))
    found = {"some": [replace(TIME, value=3.0), replace(ALONE, value=1.0)]}
    lines = report(compared(found, path), path).splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == ["  missed", "  moved"]
    assert report([], path).endswith("nothing changed")


def test_without_a_record_targets_count_all_the_same(tmp_path):
    path = tmp_path / "none.json"
    found = compared({"some": [TIME, replace(ALONE, value=1.0)]}, path)
    assert [change.kind for change in found] == ["missed"]
    assert "no table was recorded" in report(found, path)


def test_another_processor_than_the_records_is_told(tmp_path):
    path = tmp_path / "recorded.json"
    path.write_text(json.dumps({"groups": {"a": {"machine": {"processor": "Xeon"}, "figures": []}}}))
    words = "  recorded on Xeon, measured on EPYC: ratios may differ for that"
    assert report([], path, "EPYC").splitlines()[1:] == [words]
    assert report([], path, "Xeon").splitlines()[1:] == []
