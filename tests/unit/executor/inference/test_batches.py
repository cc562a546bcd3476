"""Batches of pictures, masks and latents: parts by number, and two joined."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import NodeInputError
from executor.inference.batches import merged, numbers_of, taken, values_of


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0", [0]), ("0,2,5:8,-1", [0, 2, 5, 6, 7, 9]), (" 3 , 1 ", [3, 1]), ("::-3", [9, 6, 3, 0]), (":", [*range(10)]),
     ("8:99", [8, 9]), ("-2:", [8, 9])],
)  # fmt: skip
def test_places_and_ranges(text, numbers):
    assert numbers_of(text, 10) == numbers


@given(st.integers(0, 9), *[st.none() | st.integers(-12, 12)] * 2, st.none() | st.integers(-3, 3).filter(bool))
def test_ranges_are_pythons(count, start, end, step):
    text = ":".join("" if part is None else str(part) for part in (start, end, step))
    assert numbers_of(text, count) == list(range(count))[start:end:step]


@pytest.mark.parametrize("text", ["", "a", "1,", "1-3", "::0", "1.5", ","])
def test_what_is_no_range_is_said(text):
    with pytest.raises(NodeInputError, match="neither a number nor a range"):
        numbers_of(text, 10)


def test_missing_places_are_said_or_left_out():
    with pytest.raises(NodeInputError, match="no item 10 among 10"):
        numbers_of("10", 10)
    assert numbers_of("10,-11,4", 10, must_exist=False) == [4]


def test_every_part_of_a_latent_that_counts_is_taken():
    latent = {"samples": torch.arange(3.0).reshape(3, 1, 1, 1), "noise_mask": torch.arange(3.0).reshape(3, 1, 1),
              "batch_index": [7, 8, 9], "type": "audio", "shared": torch.zeros(1, 2)}  # fmt: skip
    part = taken(latent, [2, 0])
    assert part["samples"].flatten().tolist() == part["noise_mask"].flatten().tolist() == [2, 0]
    assert (part["batch_index"], part["type"], part["shared"].shape) == ([9, 7], "audio", (1, 2))


@pytest.mark.parametrize(
    ("strategy", "size"),
    [("match A", (4, 4)), ("match B", (8, 6)), ("match smaller", (4, 4)), ("match larger", (8, 6))],
)
@pytest.mark.parametrize("kind", ["image", "mask", "latent"])
def test_joined_at_one_size(kind, strategy, size):
    first, second = torch.zeros(2, 3, 4, 4), torch.ones(1, 3, 8, 6)
    make = {
        "image": lambda planes: planes.movedim(1, -1),
        "mask": lambda planes: planes[:, 0],
        "latent": lambda planes: {"samples": planes},
    }[kind]
    joined = merged(make(first), make(second), strategy, "bilinear", "disabled")
    values = values_of(joined)
    assert values.shape == values_of(make(torch.zeros(3, 3, *size))).shape
    assert values[:2].max() == 0
    assert values[2].min() == 1


def test_unknown_strategy_and_kind_are_said():
    with pytest.raises(NodeInputError, match="'match C' is none of match A"):
        merged(torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 3), "match C", "bilinear", "disabled")
    with pytest.raises(NodeInputError, match="str is no batch"):
        values_of("pictures")
