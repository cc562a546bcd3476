"""Our PNG files, read by Pillow: every pixel, every number of channels, chunks, size beside Pillow's."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from executor.inference import png
from executor.inference.png import Bytes, encode_png

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))


def read(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


@given(pixels=SHAPES.flatmap(lambda shape: arrays(np.uint8, shape)))
def test_every_pixel_comes_back(pixels: Bytes):
    assert np.array_equal(np.asarray(read(encode_png(pixels))).reshape(pixels.shape), pixels)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_channels_are_the_modes_that_readers_know(channels: int, mode: str):
    assert read(encode_png(np.zeros((2, 3, channels), np.uint8))).mode == mode


def test_rows_are_filtered_alike_across_bands(monkeypatch: pytest.MonkeyPatch):
    pixels = np.random.default_rng(1).integers(0, 256, (50, 7, 3), dtype=np.uint8)
    whole = encode_png(pixels)
    monkeypatch.setattr(png, "BAND_BYTES", 64)
    assert np.array_equal(np.asarray(read(encode_png(pixels))), np.asarray(read(whole)))


def test_long_data_is_cut_into_chunks(monkeypatch: pytest.MonkeyPatch):
    pixels = np.random.default_rng(2).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    monkeypatch.setattr(png, "CHUNK_BYTES", 1000)
    data = encode_png(pixels)
    assert data.count(b"IDAT") >= 4
    assert np.array_equal(np.asarray(read(data)), pixels)


def test_each_filter_is_chosen_where_it_fits():
    """Stripes across are best told from the left, stripes down from above, noise from the mean of both."""
    down = np.repeat(np.arange(32, dtype=np.uint8)[:, None] * 7, 32, axis=1)
    noise = np.random.default_rng(3).integers(50, 150, (32, 32), dtype=np.uint8)
    chosen = [
        int(np.bincount(np.concatenate([band[:, 0] for band in png._bands(rows, 1)])).argmax())
        for rows in (down, np.ascontiguousarray(down.T), noise)
    ]
    assert chosen == [1, 2, 3]


def test_texts_are_chunks_before_the_pixels():
    data = encode_png(np.zeros((1, 1, 3), np.uint8), [(b"tEXt", b"prompt\0{}")])
    assert read(data).info == {"prompt": "{}"}
    assert data.index(b"tEXt") < data.index(b"IDAT")


def test_a_soft_picture_is_no_larger_than_pillows():
    rng = np.random.default_rng(4)
    pixels = (np.linspace(0, 200, 256)[None, :, None] + rng.normal(20, 4, (256, 256, 3))).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=4)
    assert len(encode_png(pixels)) < 1.05 * len(buffer.getvalue())


@pytest.mark.parametrize(("shape", "error"), [((2, 2, 5), KeyError), ((0, 2, 3), ValueError), ((2, 0, 3), ValueError)])
def test_what_no_file_can_hold_is_refused(shape: tuple[int, ...], error: type[Exception]):
    with pytest.raises(error):
        encode_png(np.zeros(shape, np.uint8))
