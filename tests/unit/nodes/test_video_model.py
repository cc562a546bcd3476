"""Nodes of models that a picture leads to a video, on a small random checkpoint."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference import weights
from executor.inference.conditions import resolve
from executor.inference.denoiser import discrete_eps
from executor.inference.memory import Memory
from executor.inference.safetensors_file import read_safetensors
from nodes.builtin.loaders import CheckpointLoaderSimple
from nodes.builtin.sampling import KSampler
from nodes.builtin.vae import VAEDecode
from nodes.builtin.video_model import (
    ConditioningSetAreaPercentageVideo,
    ImageOnlyCheckpointLoader,
    ImageOnlyCheckpointSave,
    SVD_img2vid_Conditioning,
    VideoLinearCFGGuidance,
    VideoTriangleCFGGuidance,
)
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint
from tests.tiny_video import EMBEDDING, SIZES, video_tensors, write_tiny_video

NAME = "svd.safetensors"
SETTINGS = {"seed": 3, "steps": 2, "cfg": 2.5, "sampler_name": "euler", "scheduler": "karras"}


@pytest.fixture
def checkpoints(place):
    """The folder of checkpoints, with a small SVD file in it."""
    folder = place.folders.paths("checkpoints")[0]
    folder.mkdir(parents=True, exist_ok=True)
    write_tiny_video(folder / NAME)
    place.memory = Memory(torch.device("cpu"))
    return folder


@pytest.fixture
def loaded(checkpoints):
    """MODEL, CLIP_VISION and VAE of the file."""
    return ImageOnlyCheckpointLoader().load_checkpoint(NAME)


def led(loaded, picture: Tensor | None = None, frames: int = 3, **changes):
    """What the conditioning node gives for a picture of 48 x 32 pixels."""
    _, vision, vae = loaded
    given = {"width": 32, "height": 32, "motion_bucket_id": 32, "fps": 6, "augmentation_level": 0.0, **changes}
    picture = torch.rand(1, 32, 48, 3, generator=torch.Generator().manual_seed(1)) if picture is None else picture
    return SVD_img2vid_Conditioning().encode(vision, picture, vae, video_frames=frames, **given)


def frames_of(loaded, model=None, cfg=SETTINGS["cfg"], **changes) -> Tensor:
    """The frames of a short sampling."""
    positive, negative, latent = led(loaded, **changes)
    [drawn] = KSampler().sample(
        model or loaded[0], positive=positive, negative=negative, latent_image=latent, **{**SETTINGS, "cfg": cfg}
    )
    return VAEDecode().decode(loaded[2], drawn)[0]


def test_a_picture_leads_to_frames(loaded):
    frames = frames_of(loaded)
    assert frames.shape == (3, 32, 32, 3)
    assert bool(frames.isfinite().all())
    assert float((frames[0] - frames[1]).abs().max()) > 0.01


def test_both_sides_know_size_and_speed_and_one_the_picture(loaded):
    positive, negative, latent = led(loaded)
    [[meaning, follow]], [[nothing, avoid]] = positive, negative
    assert (meaning.shape, latent["samples"].shape) == ((1, 1, EMBEDDING), (3, 4, 4, 4))
    assert bool(meaning.any())
    assert not bool(nothing.any() or avoid["concat_latent_image"].any())
    for side in (follow, avoid):
        assert (side["fps"], side["motion_bucket_id"], side["augmentation_level"]) == (6, 32, 0.0)
        assert side["concat_latent_image"].shape == (1, 4, 4, 4)


@pytest.mark.parametrize("changes", [{"motion_bucket_id": 200}, {"fps": 30}, {"augmentation_level": 1.0}])
def test_every_number_moves_the_video(loaded, changes):
    assert float((frames_of(loaded, **changes) - frames_of(loaded)).abs().max()) > 1e-4


def test_frames_look_at_each_other(loaded):
    longer, shorter = frames_of(loaded, frames=4), frames_of(loaded, frames=3)
    assert float((longer[0] - shorter[0]).abs().max()) > 1e-4


@pytest.mark.parametrize("frames", [1, 5])
def test_any_number_of_frames_is_drawn(loaded, frames):
    assert frames_of(loaded, frames=frames).shape[0] == frames


def test_many_frames_are_decoded_in_stretches_that_fit(loaded, monkeypatch):
    vae, seen = loaded[2], []
    decode = vae.first_stage_model.decode
    each = 8 * 8 * 32 * 32 * 4  # feature maps, channels, pixels, bytes
    monkeypatch.setattr(vae.memory, "free", lambda: 2 * each)
    monkeypatch.setattr(vae.first_stage_model, "decode", lambda latents: seen.append(len(latents)) or decode(latents))
    frames = vae.decode(torch.randn(5, 4, 4, 4))
    assert seen == [2, 2, 1]
    assert frames.shape == (5, 32, 32, 3)


@pytest.mark.parametrize("shape", [(1, 40, 40, 3), (1, 100, 16, 4), (2, 32, 32, 3)])
def test_pictures_of_any_size_and_number_lead(loaded, shape):
    positive, _, _ = led(loaded, torch.rand(shape))
    assert positive[0][0].shape == (1, shape[0], EMBEDDING)
    assert positive[0][1]["concat_latent_image"].shape == (shape[0], 4, 4, 4)
    assert frames_of(loaded, picture=torch.rand(shape)).shape == (3, 32, 32, 3)


def test_noise_on_the_picture_is_the_same_every_time(loaded):
    latents = [led(loaded, augmentation_level=level)[0][0][1]["concat_latent_image"] for level in (0.5, 0.5, 0.0)]
    assert torch.equal(latents[0], latents[1])
    assert not torch.equal(latents[0], latents[2])


@pytest.mark.parametrize("node", [VideoLinearCFGGuidance, VideoTriangleCFGGuidance])
def test_guidance_by_frame_starts_at_its_smallest(loaded, node):
    [patched] = node().patch(loaded[0], 1.5)
    mix = patched.model_options["sampler_cfg_function"]
    scales = mix({"cond": torch.ones(5, 1, 1, 1), "uncond": torch.zeros(5, 1, 1, 1), "cond_scale": 3.5}).flatten()
    expected = [1.5, 2.0, 2.5, 3.0, 3.5] if node is VideoLinearCFGGuidance else [1.5, 2.5, 3.5, 2.5, 1.5]
    assert scales.tolist() == pytest.approx(expected)
    assert "sampler_cfg_function" not in loaded[0].model_options


@pytest.mark.parametrize("node", [VideoLinearCFGGuidance, VideoTriangleCFGGuidance])
def test_guidance_by_frame_holds_beside_a_scale_of_one(loaded, node):
    plain = frames_of(loaded, cfg=1.0)
    [one], [more] = (node().patch(loaded[0], scale) for scale in (1.0, 4.0))
    assert torch.equal(frames_of(loaded, one, cfg=1.0), plain)
    assert float((frames_of(loaded, more, cfg=1.0) - plain)[0].abs().max()) > 0.01


def test_a_saved_checkpoint_is_the_file_again(loaded, checkpoints, place):
    model, vision, vae = loaded
    ImageOnlyCheckpointSave().save(model, vision, vae, "again")
    [path] = (place.settings.base_directory / "output").glob("again*.safetensors")
    saved, original = load_file(path), load_file(checkpoints / NAME)
    assert saved.keys() == original.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in original.items())


def test_the_ordinary_loader_takes_a_video_checkpoint_without_text(checkpoints):
    model, clip, vae = CheckpointLoaderSimple().load_checkpoint(NAME)
    assert (model.family, clip) == ("svd", None)
    assert vae is not None


def test_the_file_is_mapped_once_for_all_its_parts(checkpoints, monkeypatch):
    read: list[str] = []

    def noted(path, start):
        read.append(path.name)
        return read_safetensors(path, start)

    monkeypatch.setattr(weights, "read_safetensors", noted)
    ImageOnlyCheckpointLoader().load_checkpoint(NAME)
    assert read == [NAME]


def test_another_checkpoint_has_no_vision_model_to_lead_by(checkpoints):
    write_tiny_checkpoint(checkpoints / "sd15.safetensors", TinySizes(vocabulary=100))
    loaded = ImageOnlyCheckpointLoader().load_checkpoint("sd15.safetensors")
    with pytest.raises(NodeInputError, match="'clip_vision': the checkpoint holds no vision model"):
        led(loaded)
    with pytest.raises(NodeInputError, match="'clip_vision': the checkpoint holds no vision model"):
        ImageOnlyCheckpointSave().save(*loaded, "x")


def test_a_model_of_pictures_is_told_that_it_takes_text(checkpoints, loaded):
    write_tiny_checkpoint(checkpoints / "sd15.safetensors", TinySizes(vocabulary=100))
    model = ImageOnlyCheckpointLoader().load_checkpoint("sd15.safetensors")[0]
    with pytest.raises(NodeInputError, match=r"takes text of width 32, and this conditioning has 48"):
        frames_of(loaded, model)


def test_a_video_checkpoint_without_its_vae_gives_none(checkpoints, caplog):
    from safetensors.torch import save_file

    whole = video_tensors(SIZES)
    parts = {name: tensor for name, tensor in whole.items() if not name.startswith("first_stage")}
    save_file(parts, checkpoints / "half.safetensors")
    model, vision, vae = ImageOnlyCheckpointLoader().load_checkpoint("half.safetensors")
    assert (model.family, vision is None, vae) == ("svd", False, None)
    assert "half.safetensors holds no VAE: outputs made of it are empty" in caplog.text


def test_a_box_of_a_video_is_kept_as_shares():
    entry = [[torch.zeros(1, 2, 4), {}]]
    [found] = ConditioningSetAreaPercentageVideo().append(entry, 0.5, 0.25, 0.75, 0.1, 0.2, 0.3, 0.9)
    area = found[0][1]["area"]
    assert area == ("percentage", 0.75, 0.25, 0.5, 0.3, 0.2, 0.1)
    assert found[0][1]["strength"] == 0.9


def test_a_box_of_a_video_is_an_area_of_pictures():
    entry = [[torch.zeros(1, 2, 4), {"area": ("percentage", 0.5, 0.5, 0.25, 0.0, 0.25, 0.5)}]]
    [condition] = resolve(entry, torch.Size((1, 4, 16, 8)), discrete_eps())
    assert condition.area == (8, 2, 4, 4)
