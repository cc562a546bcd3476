"""Pictures of a batch one at a time: their order, their values, their sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from executor.inference.frames import FrameSequence, file_values, shown_order


@given(st.integers(1, 30), st.booleans(), st.integers(1, 3))
def test_order(count, pingpong, plays):
    order = shown_order(count, pingpong, plays)
    once = order[: len(order) // plays]
    assert once[:count] == list(range(count))
    assert order == once * plays
    assert len(once) == (max(count, 2 * count - 2) if pingpong else count)
    assert once[count:] == once[1 : len(once) - count + 1][::-1]


def test_sides_grow_by_repeating_their_edges():
    picture = torch.arange(3.0).reshape(1, 3, 1).expand(3, 3, 3) / 255
    assert file_values(picture, alignment=2)[..., 0].tolist() == [[0, 1, 2, 2]] * 4
    assert file_values(picture, alignment=6)[..., 0].tolist() == [[0, 0, 1, 2, 2, 2]] * 6


@pytest.mark.parametrize(("channels", "kept"), [(1, 3), (2, 3), (3, 3), (4, 4), (7, 3)])
def test_channels(channels, kept):
    assert file_values(torch.ones(2, 2, channels)).shape == (2, 2, kept)


@pytest.mark.parametrize(("bits", "expected"), [(8, [0, 128, 255, 255, 0]), (16, [0, 32768, 65535, 65535, 0])])
def test_values_are_rounded_and_kept_in_range(bits, expected):
    picture = torch.tensor([-1.0, 0.5, 1.0, 9.0, float("nan")]).reshape(1, 5, 1).expand(1, 5, 3)
    assert file_values(picture, bits)[0, :, 0].tolist() == expected


def test_sequence_goes_on_and_back():
    made = []

    def frames():
        for number in range(4):
            made.append(number)
            yield np.full((2, 2, 3), number, np.uint8)

    sequence = FrameSequence(frames, 4)
    for number in (1, 3, 0):
        sequence.seek(number)
        sequence.load()
        assert sequence.getpixel((0, 0)) == (number,) * 3
    assert made == [0, 1, 2, 3, 0]
    with pytest.raises(EOFError):
        sequence.seek(4)
