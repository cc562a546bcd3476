"""Pictures to latents and back: shapes, ranges, cutting, batches."""

import pytest
import torch

from executor.errors import NodeInputError
from executor.inference.checkpoint import Checkpoint
from executor.inference.memory import Memory
from executor.inference.vae import Vae, crop_to_cells


def test_a_latent_cell_is_eight_pixels(tiny: Checkpoint):
    assert tiny.vae.encode(torch.rand(2, 16, 24, 3)).shape == (2, 4, 2, 3)


def test_pictures_are_channels_last_and_in_range(tiny: Checkpoint):
    picture = tiny.vae.decode(torch.randn(1, 4, 2, 3) * 20)
    assert picture.shape == (1, 16, 24, 3)
    assert (picture.min() >= 0, picture.max() <= 1, picture.dtype) == (True, True, torch.float32)


def test_sides_are_cut_around_the_middle():
    pixels = torch.arange(11.0)[None, :, None, None].expand(1, 11, 9, 3)
    assert crop_to_cells(pixels, 8)[0, :, 0, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_encoding_sees_the_middle_of_an_odd_picture(tiny: Checkpoint):
    pixels = torch.rand(1, 19, 16, 3)
    assert torch.equal(tiny.vae.encode(pixels), tiny.vae.encode(pixels[:, 1:17]))


def test_an_alpha_channel_is_left_out(tiny: Checkpoint):
    pixels = torch.rand(1, 16, 16, 4)
    assert torch.equal(tiny.vae.encode(pixels), tiny.vae.encode(pixels[..., :3]))


def test_a_picture_smaller_than_a_cell_is_refused(tiny: Checkpoint):
    with pytest.raises(NodeInputError, match="a picture of 16x7 pixels is too small"):
        tiny.vae.encode(torch.rand(1, 7, 16, 3))


@pytest.mark.parametrize("shape", [(1, 16, 2, 2), (4, 2, 2), (1, 4, 1, 2, 2)])
def test_latents_of_another_model_are_refused(tiny: Checkpoint, shape):
    with pytest.raises(NodeInputError, match="decodes latents of shape"):
        tiny.vae.decode(torch.randn(shape))


@pytest.mark.parametrize("shape", [(1, 16, 16, 1), (1, 16, 16, 2), (0, 16, 16, 3)])
@pytest.mark.parametrize("work", ["encode", "encode_tiled"])
def test_pictures_without_three_colours_are_refused_in_words(tiny: Checkpoint, shape, work):
    with pytest.raises(NodeInputError, match="one or more of three colour channels"):
        getattr(tiny.vae, work)(torch.zeros(shape))


def test_no_latents_are_refused_in_words(tiny: Checkpoint):
    with pytest.raises(NodeInputError, match="are empty: there is nothing to decode"):
        tiny.vae.decode(torch.zeros(0, 4, 2, 2))


def test_short_memory_splits_a_batch_without_changing_it(tiny: Checkpoint, monkeypatch):
    whole = tiny.vae.decode(latents := torch.randn(3, 4, 2, 2))
    tight = Memory(mode="cpu")
    monkeypatch.setattr(tight, "free", lambda: 4 * 16 * 16 * 4 * max(tiny.vae.part.module.shape.decoder_widths))
    split = Vae(part=tiny.vae.part, memory=tight).decode(latents)
    torch.testing.assert_close(split, whole, rtol=1e-5, atol=1e-4)  # sums of another batch size round otherwise


@pytest.mark.parametrize("work", ["encode", "decode"])
def test_what_main_memory_does_not_hold_is_done_in_tiles_without_a_try(tiny: Checkpoint, monkeypatch, caplog, work):
    tight = Memory(mode="cpu")
    monkeypatch.setattr(tight, "free", lambda: 1000)
    monkeypatch.setattr(Vae, f"_{work}_batch", lambda self, batch: pytest.fail("the whole picture was tried"))
    monkeypatch.setattr(Vae, f"{work}_tiled", lambda self, given: torch.ones(1))
    given = torch.rand(1, 64, 64, 3) if work == "encode" else torch.randn(1, 4, 8, 8)
    assert torch.equal(getattr(Vae(part=tiny.vae.part, memory=tight), work)(given), torch.ones(1))
    assert "to work in, and 1 MiB are free" in caplog.text
