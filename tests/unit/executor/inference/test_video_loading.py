"""Which frames of a video are loaded, and how large they become."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.inference.video_loading import LOAD_FORMATS, LoadFormat, fitted_values, sampled, target_size, whole_count

RATES = st.fractions(min_value=Fraction(1, 10), max_value=120, max_denominator=1001)


@pytest.mark.parametrize(
    ("rate", "wanted", "frames"),
    [
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 4, [0, 2, 4, 6]),
        (8, 16, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]),
        (8, 6, [0, 1, 2, 4, 5, 6]),
        (8, 1, [0]),
    ],
)
def test_frames_on_another_clock(rate, wanted, frames):
    assert list(sampled(range(8), Fraction(rate), Fraction(wanted))) == frames


@given(st.integers(1, 40), RATES, RATES)
def test_each_tick_has_the_last_frame_that_is_not_later(count, rate, wanted):
    picked = list(sampled(range(count), rate, wanted))
    assert picked == [int(tick / wanted * rate) for tick in range(len(picked))]
    assert int(Fraction(len(picked)) / wanted * rate) >= count  # the next tick lies behind the end


def test_decoding_ends_with_the_last_frame_wanted():
    def frames():
        yield from range(3)
        raise AssertionError("decoded too much")

    picked = sampled(frames(), Fraction(8), Fraction(8))
    assert [next(picked) for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("wanted", "side", "size"),
    [((0, 0), 1, (63, 47)), ((0, 0), 8, (64, 48)), ((126, 0), 1, (126, 94)), ((0, 94), 8, (128, 96)),
     ((100, 10), 16, (96, 16)), ((1, 1), 32, (32, 32))],
)  # fmt: skip
def test_sizes(wanted, side, size):
    assert target_size(63, 47, *wanted, side) == size


@pytest.mark.parametrize(
    ("name", "count", "kept"),
    [("None", 7, 7), ("AnimateDiff", 7, 7), ("Wan", 7, 5), ("Wan", 5, 5), ("Wan", 1, 1), ("LTXV", 16, 9),
     ("Mochi", 13, 13), ("Mochi", 12, 7), ("Cosmos", 8, 1), ("Hunyuan", 0, 0)],
)  # fmt: skip
def test_counts(name, count, kept):
    assert whole_count(count, LOAD_FORMATS[name]) == kept


@given(st.integers(0, 500), st.integers(2, 9), st.integers(0, 1))
def test_counts_are_the_largest_that_fit(count, step, rest):
    kept = whole_count(count, LoadFormat(step=step, rest=rest))
    assert kept <= count
    assert count - kept < step + rest
    assert kept == 0 or kept % step == rest


def test_pictures_are_cut_around_their_middle():
    values = np.zeros((4, 12, 3), np.uint8)
    values[:, 4:8] = 200
    assert np.array_equal(fitted_values(values, 4, 4), np.full((4, 4, 3), 200))
    assert fitted_values(values, 12, 4) is values
    assert fitted_values(values, 6, 6).shape == (6, 6, 3)
