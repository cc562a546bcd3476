"""Loaders: the file of the chosen name, and refusals that say what a file is."""

import pytest
import torch

from executor.errors import ModelFileError
from nodes.builtin.loaders import DiffusersLoader, UNETLoader, VAELoader
from nodes.builtin.lora import LoraLoader, LoraLoaderModelOnly
from nodes.builtin.vision import unCLIPConditioning


@pytest.mark.parametrize(
    ("load", "kind"),
    [
        (lambda name: UNETLoader().load_unet(name, "default"), "diffusion_models"),
        (lambda name: VAELoader().load_vae(name), "vae"),
        (lambda name: LoraLoaderModelOnly().load_lora_model_only(None, name, 1.0), "loras"),
        (lambda name: DiffusersLoader().load_checkpoint(name), "diffusers"),
    ],
)
def test_a_missing_file_is_named_with_its_kind(place, load, kind):
    with pytest.raises(ModelFileError, match=rf"gone: input '\w+': no such file among the {kind}"):
        load("gone")


def test_a_lora_of_no_strength_is_not_read():
    assert LoraLoader().load_lora("model", "clip", "gone.safetensors", 0, 0) == ("model", "clip")


def test_pictures_to_follow_add_up():
    given = [[torch.zeros(1, 1, 4), {}]]
    [once] = unCLIPConditioning().apply_adm(given, "first", 1.0, 0.1)
    [twice] = unCLIPConditioning().apply_adm(once, "second", 0.5, 0.0)
    pictures = twice[0][1]["unclip_conditioning"]
    assert [picture["clip_vision_output"] for picture in pictures] == ["first", "second"]
    assert "unclip_conditioning" not in given[0][1]
    assert unCLIPConditioning().apply_adm(given, "none", 0.0, 0.0) == (given,)


def test_only_folders_that_diffusers_saved_are_listed(place):
    from executor.contract.choices import listed
    from executor.contract.definition import FileChoices

    saved = place.folders.models / "diffusers" / "mine"
    (saved / "unet").mkdir(parents=True)
    (saved / "model_index.json").touch()
    assert listed(FileChoices(source="diffusers", content="model_index.json"), place.folders) == ["mine"]
