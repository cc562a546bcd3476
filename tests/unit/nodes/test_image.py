"""Pictures of one colour, as many as there is memory for."""

import pytest
import torch

from executor.errors import NodeInputError
from executor.inference import devices
from nodes.builtin.image import EmptyImage, ImagePadForOutpaint, ImageScale
from nodes.builtin.image_edit import RepeatImageBatch
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
