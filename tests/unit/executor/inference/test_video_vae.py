"""The VAE of videos: sizes, stretches, tiles and refusals, at a small autoencoder."""

from __future__ import annotations

import pytest
import torch

from executor import context
from executor.errors import Interrupted, ModelFileError, NodeInputError
from executor.inference.memory import Memory
from executor.inference.vae import load_vae
from executor.inference.video_vae import VideoVae
from nodes.builtin.vae import VAEDecode, VAEDecodeTiled, VAEEncode, VAEEncodeTiled
from tests.maths.recordings import error
from tests.tiny_wan_vae import grouped_shape, vae_tensors, write_wan_vae


@pytest.fixture
def vae(tmp_path) -> VideoVae:
    return load_vae(write_wan_vae(tmp_path / "wan_2.1_vae.safetensors"), Memory(mode="cpu"))


def pictures(frames: int, height: int = 16, width: int = 24) -> torch.Tensor:
    return torch.rand(frames, height, width, 3, generator=torch.manual_seed(4))


def test_packs_read_its_sizes(vae):
    assert (vae.latent_dim, vae.latent_channels, vae.frames) == (3, 16, 4)
    assert (vae.spacial_compression_encode(), vae.temporal_compression_decode()) == (8, 4)


def test_the_later_kind_has_cells_of_sixteen_pixels(tmp_path):
    vae = load_vae(write_wan_vae(tmp_path / "wan2.2_vae.safetensors", grouped_shape()), Memory(mode="cpu"))
    assert (vae.latent_channels, vae.downscale) == (48, 16)
    assert vae.encode(pictures(5, 32, 32)).shape == (1, 48, 2, 2, 2)


@pytest.mark.parametrize(("frames", "latent"), [(1, 1), (4, 1), (5, 2), (9, 3)])
def test_a_latent_frame_is_for_the_first_picture_and_for_each_further_four(vae, frames, latent):
    [found] = VAEEncode().encode(vae, pictures(frames))
    assert found["samples"].shape == (1, 16, latent, 2, 3)
    [images] = VAEDecode().decode(vae, found)
    assert images.shape == (4 * latent - 3, 16, 24, 3)
    assert images.min() >= 0
    assert images.max() <= 1


def test_pictures_are_cut_to_whole_cells_around_their_middle(vae):
    whole = pictures(5, 20, 28)
    assert torch.equal(vae.encode(whole), vae.encode(whole[:, 2:18, 2:26]))


def test_several_videos_are_encoded_and_decoded_each_for_itself(vae):
    videos = torch.stack([pictures(5), pictures(5).flip(0)])
    latents = vae.encode(videos)
    assert latents.shape == (2, 16, 2, 2, 3)
    assert error(latents[1:], vae.encode(videos[1])) < 1e-5
    decoded = vae.decode(latents)
    assert error(decoded[1:], vae.decode(latents[1:])) < 1e-5


def test_latents_of_a_picture_are_a_video_of_one(vae):
    latents = torch.randn(2, 16, 2, 3)
    assert torch.equal(vae.decode(latents), vae.decode(latents[:, :, None]))


def test_a_device_sees_one_latent_frame_at_a_time(vae, monkeypatch):
    module, seen = vae.first_stage_model, []
    for name in ("encode_part", "decode_part"):
        own = getattr(module, name)

        def spied(part, past, own=own):
            seen.append(part.shape[2])
            return own(part, past)

        monkeypatch.setattr(module, name, spied)
    vae.decode(vae.encode(pictures(9)))
    assert seen == [1, 4, 4, 1, 1, 1]


def test_what_is_kept_of_frames_before_does_not_grow_with_the_video(vae):
    def kept(frames: int) -> int:
        past = {}
        for part in torch.randn(1, 16, frames, 2, 3).split(1, dim=2):
            vae.first_stage_model.decode_part(part, past)
        return sum(each.untyped_storage().nbytes() for each in past.values())

    assert kept(2) == kept(5)


def test_tiles_are_decoded_each_for_itself_through_all_frames(vae):
    latents = torch.randn(1, 16, 2, 2, 10)
    tiled = vae.decode_tiled(latents, tile_x=6, tile_y=6, overlap=2)
    first, last = vae.decode(latents[..., :6]), vae.decode(latents[..., 4:])
    assert tiled.shape == (1, 5, 16, 80, 3)
    assert error(tiled[..., :32, :], first[..., :32, :]) < 1e-5  # where the first tile stands alone
    assert error(tiled[..., 48:64, :], last[..., 16:32, :]) < 1e-5
    between, lowest = tiled[..., 32:48, :], torch.minimum(first[..., 32:, :], last[..., :16, :])
    assert (between >= lowest - 1e-5).all()
    assert (between <= torch.maximum(first[..., 32:, :], last[..., :16, :]) + 1e-5).all()


def test_tiles_are_encoded_each_for_itself_through_all_frames(vae):
    video = pictures(5, 16, 160)
    tiled = vae.encode_tiled(video, tile_x=96, tile_y=96, overlap=32)
    first, last = vae.encode(video[:, :, :96]), vae.encode(video[:, :, 64:])
    assert tiled.shape == (1, 16, 2, 2, 20)
    assert error(tiled[..., :8], first[..., :8]) < 1e-5
    assert error(tiled[..., 12:], last[..., 4:]) < 1e-5


def test_one_tile_is_the_whole(vae):
    latents = torch.randn(1, 16, 2, 2, 3)
    assert error(vae.decode_tiled(latents), vae.decode(latents)) < 1e-6
    assert error(vae.encode_tiled(pictures(9)), vae.encode(pictures(9))) < 1e-6


def test_the_nodes_for_tiles_take_frames_as_they_are(vae):
    video = pictures(9, 128, 128)
    sizes = {"tile_size": 64, "overlap": 16, "temporal_size": 8, "temporal_overlap": 4}
    [latent] = VAEEncodeTiled().encode(vae, video, **sizes)
    assert latent["samples"].shape == (1, 16, 3, 16, 16)
    [images] = VAEDecodeTiled().decode(vae, latent, **sizes)
    assert images.shape == (9, 128, 128, 3)


def test_latents_of_another_kind_are_refused(vae):
    with pytest.raises(NodeInputError, match=r"shape \[batch, 16, frames, height, width\]"):
        vae.decode(torch.zeros(1, 4, 2, 2, 2))
    with pytest.raises(NodeInputError, match="nothing to decode"):
        vae.decode(torch.zeros(1, 16, 0, 2, 2))


def test_videos_without_pictures_or_colours_are_refused(vae):
    with pytest.raises(NodeInputError, match="without pictures"):
        vae.encode(torch.zeros(0, 16, 16, 3))
    with pytest.raises(NodeInputError, match="three colour channels"):
        vae.encode(torch.zeros(1, 16, 16, 1))


def test_memory_that_runs_out_leads_to_tiles(vae, monkeypatch):
    latents = torch.randn(1, 16, 2, 2, 3)
    whole = vae.decode(latents)

    def fails(working_bytes, run, roomy=vae._roomy):
        monkeypatch.setattr(vae, "_roomy", roomy)
        raise MemoryError

    monkeypatch.setattr(vae, "_roomy", fails)
    assert error(vae.decode(latents), whole) < 1e-6


def test_the_user_can_stop_it_within_a_frame(vae, monkeypatch):
    def stop(self):
        raise Interrupted

    monkeypatch.setattr(type(context.current()), "check_interrupt", stop)
    with pytest.raises(Interrupted):
        vae.decode(torch.randn(1, 16, 1, 2, 3))


def test_a_file_that_lacks_a_layer_is_told(tmp_path):
    from safetensors.torch import save_file

    tensors = vae_tensors()
    del tensors["conv2.weight"]
    save_file(tensors, tmp_path / "broken.safetensors")
    with pytest.raises(ModelFileError, match=r"its VAE lacks conv2\.weight"):
        load_vae(tmp_path / "broken.safetensors", Memory(mode="cpu"))
