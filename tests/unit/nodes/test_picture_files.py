"""Pictures as PNG files: several at a time, in order, the same bytes as one by one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nodes.builtin.picture_files import encoded_pngs, png_bytes, png_metadata, write_png


@pytest.mark.parametrize("cores", [1, 2, 7])
def test_pictures_of_a_batch_are_encoded_in_order(monkeypatch: pytest.MonkeyPatch, cores: int):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    pictures = torch.stack([torch.full((4, 6, 3), number / 255) for number in range(9)])
    found = [Image.open(io.BytesIO(png)) for png in encoded_pngs(pictures, png_metadata({"prompt": "{}"}), 4)]
    assert [picture.getpixel((0, 0)) for picture in found] == [(number,) * 3 for number in range(9)]
    assert [picture.info for picture in found] == [{"prompt": "{}"}] * 9


def test_a_picture_that_cannot_be_encoded_ends_the_batch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(TypeError):
        list(encoded_pngs(torch.zeros(3, 4, 4, 7), png_metadata({}), 4))


@pytest.mark.parametrize("level", [0, 1, 4, 9])
def test_every_level_keeps_pixels_and_texts(level: int):
    pixels = np.random.default_rng(level).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    picture = Image.open(io.BytesIO(png_bytes(pixels, png_metadata({"prompt": '"ä語"'}), level)))
    assert picture.info["prompt"] == '"ä語"'
    assert np.array_equal(np.asarray(picture), pixels)


def test_levels_for_small_files_are_pillows():
    pixels = np.zeros((64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=9)
    assert png_bytes(pixels, png_metadata({}), 9) == buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_a_picture_of_any_mode_is_written(tmp_path: Path, mode: str):
    write_png(tmp_path / "a.png", Image.new(mode, (3, 2)), png_metadata({}), 4)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == mode
