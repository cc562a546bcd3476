"""Pictures as PNG files: several at a time, in order, the same bytes as one by one."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from nodes.builtin.picture_files import encoded_pngs, png_metadata


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
