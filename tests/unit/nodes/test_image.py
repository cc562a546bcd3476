"""Pictures of one colour, as many as there is memory for; sizes that are never nothing."""

import pytest
import torch

from executor.errors import NodeInputError
from executor.inference import devices
from nodes.builtin.image import EmptyImage, ImagePadForOutpaint, ImageScale, ImageScaleBy
from nodes.builtin.image_edit import (
    ImageScaleToMaxDimension,
    ImageScaleToTotalPixels,
    RepeatImageBatch,
    ResizeAndPadImage,
)
from nodes.builtin.latent import LatentUpscaleBy, RepeatLatentBatch


def test_a_colour_fills_every_picture():
    [pictures] = EmptyImage().generate(4, 2, batch_size=3, color=0xFF8000)
    assert pictures.shape == (3, 2, 4, 3)
    assert pictures.reshape(-1, 3).unique(dim=0).tolist() == [[1.0, pytest.approx(128 / 255), 0.0]]


def test_more_than_there_is_memory_for_is_refused_with_the_figures():
    with pytest.raises(NodeInputError, match=r"4096 with 16384 x 16384 pixels takes at least 13194\.1 GB, but .* free"):
        EmptyImage().generate(16384, 16384, batch_size=4096)


PICTURE, CELL = torch.zeros(1, 8, 8, 3), torch.zeros(1, 4, 1, 1)
LARGER = {
    "scaled": lambda: ImageScale().upscale(PICTURE, "nearest-exact", 16384, 16384, "disabled"),
    "with a border": lambda: ImagePadForOutpaint().expand_image(PICTURE, 16384, 16384, 0, 0, 0),
    "repeated": lambda: RepeatImageBatch().repeat(PICTURE[:, :1, :1].expand(64, 512, 512, 3), 64),
    "latents scaled": lambda: LatentUpscaleBy().upscale({"samples": CELL}, "bislerp", 8192.0),
    "latents repeated": lambda: RepeatLatentBatch().repeat({"samples": CELL.expand(1, 4, 2048, 2048)}, 64),
}


@pytest.mark.parametrize("make", LARGER.values(), ids=LARGER)
def test_what_grows_beyond_memory_is_refused_before_it_is_made(make, monkeypatch):
    monkeypatch.setattr(devices, "main_memory_free", lambda: 1 << 28)
    with pytest.raises(NodeInputError, match=r"takes at least .* GB, but 0\.3 GB of memory are free"):
        make()


SLIVER = torch.rand(1, 1000, 2, 3)
SMALL = {
    "by": (lambda method: ImageScaleBy().upscale(SLIVER, method, 0.01), (10, 1)),
    "to a side": (lambda method: ImageScaleToMaxDimension().upscale(SLIVER, method, 8), (8, 1)),
    "to pixels": (lambda method: ImageScaleToTotalPixels().upscale(SLIVER, method, 2e-5), (102, 1)),
    "into a frame": (lambda method: ResizeAndPadImage().resize_and_pad(SLIVER, 8, 8, "white", method), (8, 8)),
}


@pytest.mark.parametrize("method", ["area", "bilinear", "lanczos"])
@pytest.mark.parametrize("scaled", SMALL)
def test_a_narrow_picture_keeps_a_pixel(scaled, method):
    make, size = SMALL[scaled]
    assert tuple(make(method)[0].shape) == (1, *size, 3)


def test_small_latents_keep_a_cell():
    [small] = LatentUpscaleBy().upscale({"samples": CELL.expand(1, 4, 20, 4)}, "bislerp", 0.1)
    assert small["samples"].shape == (1, 4, 2, 1)
