"""Bounds as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.keeping import AGES_S, SIZES, UNBOUNDED, Keep, age_text, keep_of, size_text


@pytest.mark.parametrize(
    ("words", "keep"),
    [
        ((), UNBOUNDED),
        (("all",), UNBOUNDED),
        (("30d",), Keep(age_s=30 * 86400)),
        (("90 min", "1.5GB"), Keep(age_s=5400, nbytes=1_500_000_000)),
        (("2GiB", "5000files", "2w"), Keep(age_s=14 * 86400, nbytes=2 << 30, count=5000)),
    ],
)
def test_bounds_of_several_kinds_hold_together(words, keep):
    assert keep_of(words) == keep


@given(st.integers(1, 10**6), st.sampled_from([*AGES_S, *SIZES]), st.booleans())
def test_every_unit_is_known_in_either_case(number, unit, upper):
    keep = keep_of([f"{number}{unit.upper() if upper else unit}"])
    wanted = Keep(age_s=number * AGES_S[unit]) if unit in AGES_S else Keep(nbytes=number * SIZES[unit])
    assert keep == wanted


@pytest.mark.parametrize("word", ["7", "d", "7 days", "-7d", "1e3d", "", "7d 3GB", "∞d"])
def test_a_word_that_is_no_bound_is_refused_with_examples(word):
    with pytest.raises(ValueError, match="write 30d"):
        keep_of([word])


@pytest.mark.parametrize("word", ["0d", "0GB", "0files", "0.5files", "0.0001kb"])
def test_a_bound_that_would_keep_nothing_is_refused(word):
    with pytest.raises(ValueError, match="would keep nothing"):
        keep_of([word])


@pytest.mark.parametrize("words", [("7d", "30d"), ("all", "7d")])
def test_bounds_that_contradict_each_other_are_refused(words):
    with pytest.raises(ValueError, match=r"bound the same thing|contradict"):
        keep_of(words)


def test_ages_and_sizes_are_told_in_their_largest_unit():
    assert [age_text(seconds) for seconds in (5, 90, 7200, 9 * 86400)] == ["5 s", "2 min", "2 h", "9 d"]
    assert [size_text(size) for size in (900, 1500, 2_340_000, 5e9)] == ["900 bytes", "1.5 kB", "2.3 MB", "5.0 GB"]
