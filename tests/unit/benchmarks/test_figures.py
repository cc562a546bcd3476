"""Figures beside their floors: which targets hold, and what the table says."""

from __future__ import annotations

import pytest

from benchmarks.figures import Figure, percentile, table


@pytest.mark.parametrize(
    ("targets", "holds"),
    [
        ({}, True),
        ({"most_ratio": 1.5}, True),
        ({"most_ratio": 1.4}, False),
        ({"least_ratio": 1.5}, True),
        ({"least_ratio": 1.6}, False),
        ({"most_above": 1.0}, True),
        ({"most_above": 0.9}, False),
        ({"least": 3.0, "most": 3.0}, True),
        ({"least": 3.1}, False),
        ({"most": 2.9}, False),
    ],
)
def test_targets(targets, holds):
    figure = Figure(name="f", value=3.0, unit="ms", floor=2.0, **targets)
    assert figure.holds() is holds
    assert ("MISSED" in table([figure])) is not holds


def test_margin_widens_every_target():
    figure = Figure(name="f", value=3.0, unit="ms", floor=2.0, most_ratio=1.0, most=2.0, least=4.0, most_above=0.6)
    assert figure.holds(margin=2.0)


def test_ratio_that_cannot_be_had_holds_no_target():
    assert not Figure(name="f", value=3.0, unit="ms", most_ratio=1.5).holds()


def test_row_tells_ratio_and_target():
    row = Figure(name="f", value=3.0, unit="ms", floor=2.0, floor_name="bare", most_ratio=1.5).row()
    assert (row["ratio"], row["target"], row["holds"]) == (1.5, "<= 1.5x", True)


def test_percentile_is_a_measured_value():
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]
