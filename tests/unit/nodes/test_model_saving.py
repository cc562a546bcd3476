"""Saved models load again as they were, patches within."""

import pytest
import torch

from executor.errors import NodeInputError
from executor.inference.checkpoint import load_checkpoint, load_diffusion_model
from executor.inference.memory import Memory
from executor.inference.text.loading import load_text_encoder
from executor.inference.vae import load_vae
from executor.inference.weights import read_weights
from nodes.builtin.model_saving import CheckpointSave, CLIPSave, ModelSave, VAESave
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint
from tests.tiny_families import CLIP_G, CLIP_H, REFINER_G, write_tiny_family

KEY = "input_blocks.0.0.weight"
CLIP_OF = {"sd2": CLIP_H, "sdxl": CLIP_G, "sdxl_refiner": REFINER_G}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A checkpoint of few weights."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    sizes = TinySizes(vocabulary=99, widths=(8,), attends=(True,), text_layers=1, vae_widths=(4, 4))
    return load_checkpoint(write_tiny_checkpoint(path, sizes), Memory(mode="cpu"))


@pytest.fixture
def changed(opened):
    """The model with a patch."""
    model = opened.model.clone()
    model.add_patches({f"diffusion_model.{KEY}": (torch.ones(opened.model.model.part.weights[KEY].shape),)})
    return model


def saved(place, folder):
    [path] = (place.folders.root("output") / folder).glob("*.safetensors")
    return path


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_checkpoint_is_saved_whole(place, opened, changed):
    CheckpointSave().save(changed, opened.clip, opened.vae, "checkpoints/mine")
    path = saved(place, "checkpoints")
    assert path.name == "mine_00001_.safetensors"
    again = load_checkpoint(path, Memory(mode="cpu"))
    assert equal(again.model.patched_weights(), changed.patched_weights())
    assert not equal(again.model.patched_weights(), opened.model.patched_weights())
    assert equal(again.clip.get_sd(), opened.clip.get_sd())
    assert equal(dict(again.vae.part.weights), dict(opened.vae.part.weights))


@pytest.mark.parametrize("family", ["sd2", "sdxl", "sdxl_refiner"])
def test_checkpoints_of_other_families_are_saved_whole(place, family, tmp_path):
    path = write_tiny_family(tmp_path / "x.safetensors", family, vocabulary=2, marks=("v_pred", "ztsnr"))
    whole = load_checkpoint(path, Memory(mode="cpu"))
    CheckpointSave().save(whole.model, whole.clip, whole.vae, "checkpoints/mine")
    first, again = read_weights(path).tensors, read_weights(saved(place, "checkpoints")).tensors
    assert {name for name in first if name not in again} <= {f"{CLIP_OF[family]}logit_scale"}
    assert all(torch.equal(first[name], tensor) for name, tensor in again.items())


def test_a_text_model_of_another_family_is_refused(place, opened, tmp_path):
    other = load_checkpoint(write_tiny_family(tmp_path / "x.safetensors", "sdxl", vocabulary=2), Memory(mode="cpu"))
    with pytest.raises(NodeInputError, match=r"an SDXL checkpoint holds CLIP-L and CLIP-G; this text model is CLIP-L"):
        CheckpointSave().save(other.model, opened.clip, opened.vae, "checkpoints/mine")


def test_a_diffusion_model_is_saved(place, changed):
    ModelSave().save(changed, "diffusion_models/mine")
    again = load_diffusion_model(saved(place, "diffusion_models"), Memory(mode="cpu"))
    assert equal(again.patched_weights(), changed.patched_weights())


def test_a_text_encoder_is_saved_under_its_name(place, opened):
    CLIPSave().save(opened.clip, "clip/mine")
    path = saved(place, "clip")
    assert path.name == "mine_clip_l_00001_.safetensors"
    assert equal(load_text_encoder([path], "stable_diffusion", Memory(mode="cpu")).get_sd(), opened.clip.get_sd())


def test_a_vae_is_saved(place, opened):
    VAESave().save(opened.vae, "vae/mine")
    again = load_vae(saved(place, "vae"), Memory(mode="cpu"))
    assert equal(dict(again.part.weights), dict(opened.vae.part.weights))
