"""Names of the pictures of a sequence."""

from __future__ import annotations

import pytest

from executor.numbered import MOST_FRAMES, file_names, numbered


@pytest.mark.parametrize(
    ("pattern", "number", "name"),
    [
        ("x_00001.%03d.png", 7, "x_00001.007.png"),
        ("x_00001.%03d.png", 1000, "x_00001.1000.png"),
        ("50%d_00001.%03d.png", 2, "50%d_00001.002.png"),
        ("plain.png", 2, "plain.png"),
    ],
)
def test_a_pictures_name(pattern: str, number: int, name: str):
    assert numbered(pattern, number) == name


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        ({"filename": "x.%03d.png", "frames": 2}, ["x.001.png", "x.002.png"]),
        ({"filename": "x.%03d.png"}, ["x.%03d.png"]),
        ({"filename": "x.%03d.png", "frames": "2"}, ["x.%03d.png"]),
        ({"filename": "x.png", "frames": 2}, ["x.png"]),
        ({"filename": "50%.png", "frames": 2}, ["50%.png"]),
    ],
)
def test_the_files_that_an_item_shows(shown: dict[str, object], names: list[str]):
    assert file_names(shown) == names


def test_no_item_shows_files_without_end():
    assert len(file_names({"filename": "x.%03d.png", "frames": 10**12})) == MOST_FRAMES
