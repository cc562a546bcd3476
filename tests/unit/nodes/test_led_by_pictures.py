"""Nodes of models that pictures lead to pictures: unCLIP, Zero123 and SV3D, on small random checkpoints."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.extras import Situation
from executor.inference.memory import Memory
from executor.inference.unclip import PictureVectors, cosine_alpha_bars
from executor.inference.unet_layers import timestep_embedding
from executor.inference.vision import Output
from nodes.builtin.conditioning import CLIPTextEncode
from nodes.builtin.loaders import CheckpointLoaderSimple, unCLIPCheckpointLoader
from nodes.builtin.sampling import KSampler
from nodes.builtin.stable3d import (
    StableZero123_Conditioning,
    StableZero123_Conditioning_Batched,
    SV3D_Conditioning,
)
from nodes.builtin.video_model import ImageOnlyCheckpointLoader
from nodes.builtin.vision import CLIPVisionEncode, unCLIPConditioning
from tests.tiny_video import EMBEDDING, SIZES, unclip_tensors, video_tensors, zero123_tensors

SETTINGS = {"seed": 3, "steps": 2, "cfg": 2.5, "sampler_name": "euler", "scheduler": "normal"}
WIDE = 256 + 512 + 512
PICTURE = torch.rand(1, 32, 48, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def checkpoints(place):
    """The folder of checkpoints, empty."""
    folder = place.folders.paths("checkpoints")[0]
    folder.mkdir(parents=True, exist_ok=True)
    place.memory = Memory(torch.device("cpu"))
    return folder


def drawn(model, sides, latent) -> Tensor:
    """The latents of a short sampling."""
    positive, negative = sides
    [latent] = KSampler().sample(model, positive=positive, negative=negative, latent_image=latent, **SETTINGS)
    return latent["samples"]


# ---------------------------------------------------------------- unCLIP


@pytest.fixture
def unclip(checkpoints):
    """MODEL, CLIP, VAE and CLIP_VISION of an unCLIP file."""
    save_file(unclip_tensors(), checkpoints / "unclip.safetensors")
    return unCLIPCheckpointLoader().load_checkpoint("unclip.safetensors")


def led_by(unclip, *pictures: Tensor, noise: float = 0.0, strength: float = 1.0) -> Tensor:
    """The latents of a text led by pictures."""
    model, clip, _, vision = unclip
    [positive] = CLIPTextEncode().encode(clip, "a red circle")
    [negative] = CLIPTextEncode().encode(clip, "")
    for picture in pictures:
        [seen] = CLIPVisionEncode().encode(vision, picture, "center")
        [positive] = unCLIPConditioning().apply_adm(positive, seen, strength, noise)
    return drawn(model, (positive, negative), {"samples": torch.zeros(2, 4, 4, 4)})


def test_pictures_lead_beside_text(unclip):
    plain, one, two = led_by(unclip), led_by(unclip, PICTURE), led_by(unclip, PICTURE, 1 - PICTURE)
    assert unclip[0].family == "sd2_unclip"
    assert bool(two.isfinite().all())
    assert float((plain - one).abs().max()) > 1e-3
    assert float((one - two).abs().max()) > 1e-3


@pytest.mark.parametrize("changes", [{"noise": 0.5}, {"strength": 0.25}])
def test_noise_and_strength_change_how_a_picture_leads(unclip, changes):
    assert float((led_by(unclip, PICTURE, **changes) - led_by(unclip, PICTURE)).abs().max()) > 1e-4


def test_a_picture_leads_the_same_way_every_time(unclip):
    assert torch.equal(led_by(unclip, PICTURE, noise=0.5), led_by(unclip, PICTURE, noise=0.5))


def test_an_unclip_checkpoint_draws_from_text_alone(unclip):
    model, clip, _ = CheckpointLoaderSimple().load_checkpoint("unclip.safetensors")
    [side] = CLIPTextEncode().encode(clip, "a red circle")
    assert bool(drawn(model, (side, side), {"samples": torch.zeros(1, 4, 4, 4)}).isfinite().all())


def test_noised_vectors_are_those_of_diffusers(unclip):
    from diffusers import DDPMScheduler

    [extra] = unclip[0].model.extras
    vectors, level = torch.randn(1, EMBEDDING), 300
    noise = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    scaled = (vectors - extra.mean) / extra.deviation
    noised = scheduler.add_noise(scaled, noise, torch.tensor([level])) * extra.deviation + extra.mean
    expected = torch.cat([noised, timestep_embedding(torch.tensor([float(level)]), EMBEDDING)], dim=1)
    torch.testing.assert_close(extra.noised(vectors, level / 999, 0), expected, rtol=1e-4, atol=1e-5)


def test_vectors_of_another_vision_model_are_refused():
    extra = PictureVectors(width=8, mean=torch.zeros(1, 8), deviation=torch.ones(1, 8), alpha_bars=cosine_alpha_bars())
    seen = Output(torch.zeros(1, 5, 7), torch.zeros(1, 5, 7), torch.zeros(1, 7))
    entry = {"clip_vision_output": seen, "strength": 1.0, "noise_augmentation": 0.0}
    with pytest.raises(NodeInputError, match=r"vectors of width 8, and the vision model gave vectors of width 7"):
        extra({"unclip_conditioning": [entry]}, Situation(shape=torch.Size((1, 4, 4, 4))))


# ---------------------------------------------------------------- Zero123


@pytest.fixture
def zero123(checkpoints):
    """MODEL, CLIP_VISION and VAE of a Zero123 file."""
    save_file(zero123_tensors(), checkpoints / "zero123.safetensors")
    return ImageOnlyCheckpointLoader().load_checkpoint("zero123.safetensors")


def turned(zero123, elevation: float, azimuth: float) -> Tensor:
    """The latents of one view."""
    model, vision, vae = zero123
    *sides, latent = StableZero123_Conditioning().encode(vision, PICTURE, vae, 32, 24, 1, elevation, azimuth)
    return drawn(model, sides, latent)


def test_a_turn_changes_the_view(zero123):
    front, side, top = turned(zero123, 0, 0), turned(zero123, 0, 90), turned(zero123, 45, 0)
    assert zero123[0].family == "zero123"
    assert front.shape == (1, 4, 3, 4)
    assert float((front - side).abs().max()) > 1e-4
    assert float((front - top).abs().max()) > 1e-4


def test_the_camera_stands_behind_the_picture_in_the_conditioning(zero123):
    _, vision, vae = zero123
    positive, negative, _ = StableZero123_Conditioning().encode(vision, PICTURE, vae, 32, 32, 1, 30.0, 90.0)
    [[meaning, follow]], [[nothing, avoid]] = positive, negative
    expected = [-math.pi / 6, 1.0, 0.0, math.pi / 2]
    assert meaning[0, 0, EMBEDDING:].tolist() == pytest.approx(expected, abs=1e-6)
    assert nothing.shape == (1, 1, EMBEDDING)
    assert not bool(nothing.any() or avoid["concat_latent_image"].any())
    assert bool(follow["concat_latent_image"].any())


def test_a_row_of_views_draws_each_as_by_itself(zero123):
    model, vision, vae = zero123
    angles = {"elevation": 10.0, "azimuth": 20.0, "elevation_batch_increment": 5.0, "azimuth_batch_increment": 30.0}
    *sides, latent = StableZero123_Conditioning_Batched().encode(vision, PICTURE, vae, 32, 24, 3, **angles)
    views = drawn(model, sides, latent)
    torch.testing.assert_close(views[2:], turned(zero123, 20.0, 80.0), rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------- SV3D


@pytest.mark.parametrize("width", [256, WIDE])
def test_a_thing_is_seen_from_around(checkpoints, width):
    save_file(video_tensors(replace(SIZES, vector=width)), checkpoints / "sv3d.safetensors")
    model, vision, vae = ImageOnlyCheckpointLoader().load_checkpoint("sv3d.safetensors")
    results = []
    for elevation in (0.0, 60.0):
        *sides, latent = SV3D_Conditioning().encode(vision, PICTURE, vae, 32, 32, 3, elevation)
        results.append(drawn(model, sides, latent))
    assert model.family == "sv3d"
    assert results[0].shape == (3, 4, 4, 4)
    assert bool((results[0] != results[1]).any()) == (width == WIDE)


def test_the_orbit_ends_where_the_picture_was_taken(checkpoints):
    save_file(video_tensors(replace(SIZES, vector=WIDE)), checkpoints / "sv3d.safetensors")
    model, vision, vae = ImageOnlyCheckpointLoader().load_checkpoint("sv3d.safetensors")
    [[_, options]], _, _ = SV3D_Conditioning().encode(vision, PICTURE, vae, 32, 32, 4, 10.0)
    assert options["azimuth"] == [90.0, 180.0, 270.0, 0.0]
    [orbit] = [each for each in model.model.extras if "Orbit" in type(each).__name__]
    vector = orbit(options, Situation(shape=torch.Size((4, 4, 4, 4))))["y"]
    angles = torch.tensor([math.radians(80.0), math.radians(180.0)])
    assert vector.shape == (4, WIDE)
    torch.testing.assert_close(vector[1, 256:].reshape(2, 512), timestep_embedding(angles, 512))
