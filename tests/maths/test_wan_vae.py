"""Wan's autoencoders against diffusers' AutoencoderKLWan: every weight random."""

from __future__ import annotations

import re

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers
from torch import Tensor

from executor.inference.memory import Memory
from executor.inference.vae import load_vae
from executor.inference.wan_vae import WanVae, pixels_of, squares
from tests.maths.recordings import error
from tests.tiny_wan_vae import grouped_shape, random_vae, write_wan_vae

BOUND = 1e-5
RENAMED = (
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"coder\.conv1\.", "coder.conv_in."),
    (r"coder\.head\.0\.", "coder.norm_out."),
    (r"coder\.head\.2\.", "coder.conv_out."),
    (r"\.middle\.1\.", ".mid_block.attentions.0."),
    (r"\.middle\.(\d)\.", lambda m: f".mid_block.resnets.{int(m[1]) // 2}."),
    (r"downsamples\.(\d)\.downsamples\.(\d)\.(resample|time_conv)", r"down_blocks.\1.downsampler.\3"),
    (r"upsamples\.(\d)\.upsamples\.(\d)\.(resample|time_conv)", r"up_blocks.\1.upsampler.\3"),
    (r"downsamples\.(\d)\.downsamples\.", r"down_blocks.\1.resnets."),
    (r"upsamples\.(\d)\.upsamples\.", r"up_blocks.\1.resnets."),
    (r"\.residual\.0\.", ".norm1."),
    (r"\.residual\.2\.", ".conv1."),
    (r"\.residual\.3\.", ".norm2."),
    (r"\.residual\.6\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
)
GROUPED = {
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
}


def renamed(name: str) -> str:
    """diffusers' name of a weight of Wan 2.2's autoencoder; its converter knows 2.1's alone."""
    for pattern, theirs in RENAMED:
        name = re.sub(pattern, theirs, name)
    return name


def theirs(ours: WanVae) -> AutoencoderKLWan:
    """diffusers' autoencoder of the same weights."""
    shape, weights = ours.shape, dict(ours.state_dict())
    sizes = {"base_dim": 8, "z_dim": shape.latent_channels, "temperal_downsample": [False, True, True]}
    module = AutoencoderKLWan(**sizes, **(GROUPED if shape.grouped else {}))
    if shape.grouped:
        module.load_state_dict({renamed(name): weight for name, weight in weights.items()})
    else:
        module.load_state_dict(convert_wan_vae_to_diffusers(weights))
    return module.requires_grad_(False).eval()


@pytest.fixture(params=[False, True], ids=["2.1", "2.2"])
def ours(request) -> WanVae:
    return random_vae(grouped_shape() if request.param else None)


def video(frames: int, rows: int = 1) -> Tensor:
    """Pictures in -1..1 of 2 x 3 latent cells of 16 pixels."""
    return torch.rand(rows, 3, frames, 32, 48, generator=torch.manual_seed(5)) * 2 - 1


@pytest.mark.parametrize("frames", [1, 9])
def test_latents_are_diffusers(ours, frames):
    pixels = video(frames, rows=2)
    found = ours.encode(pixels)
    assert found.shape[2] == 1 + frames // 4
    assert error(found, theirs(ours).encode(pixels).latent_dist.mean) < BOUND


@pytest.mark.parametrize("frames", [1, 3])
def test_pictures_are_diffusers(ours, frames):
    shape = ours.shape
    latents = torch.randn(2, shape.latent_channels, frames, 2, 3, generator=torch.manual_seed(6))
    found = ours.decode(latents)
    assert found.shape == (2, 3, 4 * frames - 3, 2 * shape.downscale, 3 * shape.downscale)
    assert error(found.clamp(-1, 1), theirs(ours).decode(latents).sample) < BOUND


def test_pictures_at_the_end_that_make_no_latent_frame_are_left_out(ours):
    pixels = video(8)
    assert torch.equal(ours.encode(pixels), ours.encode(pixels[:, :, :5]))


def test_squares_come_back_from_channels():
    pixels = video(2)
    assert torch.equal(pixels_of(squares(pixels, 2), 2), pixels)


def test_a_file_gives_the_pictures_of_its_weights(tmp_path, ours):
    shape = ours.shape
    vae = load_vae(write_wan_vae(tmp_path / "vae.safetensors", shape), Memory(mode="cpu"))
    latents = torch.randn(1, shape.latent_channels, 2, 2, 3, generator=torch.manual_seed(7))
    wanted = theirs(ours).decode(latents).sample.movedim(1, -1) / 2 + 0.5
    found = vae.decode(latents)
    assert found.shape == wanted.shape
    assert error(found, wanted) < BOUND
    assert vae.get_sd().keys() == ours.state_dict().keys()
