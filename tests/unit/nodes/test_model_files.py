"""Loaders: the file of the chosen name, and refusals that say what a file is."""

import pytest
import torch
from safetensors.torch import save_file

from executor.errors import ModelFileError, NodeInputError
from nodes.builtin.gligen import GLIGENLoader, GLIGENTextBoxApply
from nodes.builtin.loaders import DiffusersLoader, UNETLoader, VAELoader
from nodes.builtin.lora import LoraLoader, LoraLoaderModelOnly
from nodes.builtin.vision import StyleModelApply, StyleModelLoader, unCLIPConditioning


def put(place, kind, name, tensors):
    folder = place.folders.models / kind
    folder.mkdir(parents=True)
    save_file({key: torch.zeros(1) for key in tensors}, folder / name)


def test_style_models_are_named_and_refused(place):
    put(place, "style_models", "redux.safetensors", ["redux_up.weight"])
    with pytest.raises(ModelFileError, match=r"redux\.safetensors: is a Flux Redux style model, and style models are"):
        StyleModelLoader().load_style_model("redux.safetensors")
    with pytest.raises(NodeInputError, match="style models are not supported yet"):
        StyleModelApply().apply_stylemodel([], None, None, 1.0, "multiply")


def test_gligen_models_are_named_and_refused(place):
    put(place, "gligen", "boxes.safetensors", ["input_blocks.1.1.transformer_blocks.0.fuser.linear.weight"])
    with pytest.raises(ModelFileError, match=r"is a GLIGEN model, and those are not supported yet; to place texts"):
        GLIGENLoader().load_gligen("boxes.safetensors")
    with pytest.raises(NodeInputError, match="GLIGEN models are not supported yet"):
        GLIGENTextBoxApply().append([], None, None, "", 64, 64, 0, 0)


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
