"""What is listed under /object_info equals the recording, word by word but for the texts that are our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nodes
from executor.contract import wire
from executor.files import Folders
from executor.inference.samplers import SAMPLERS
from executor.inference.schedules import SCHEDULERS
from executor.settings import Settings

RECORDED = json.loads((Path(__file__).parents[2] / "data" / "object_info.json").read_text())
OWN_WORDS = {"tooltip", "description", "output_tooltips"}
EXTRA = {"SaveImageWebsocket"}  # a sample pack of ComfyUI's, which is not in the recording
REGISTRY = nodes.load()
TEMPLATES = REGISTRY.wire_templates()


def without_own_words(value):
    if isinstance(value, dict):
        return {key: without_own_words(item) for key, item in value.items() if key not in OWN_WORDS}
    return [without_own_words(item) for item in value] if isinstance(value, list) else value


def listed(name, folder):
    entry = wire.render(TEMPLATES[name], Folders(Settings(base_directory=folder)))
    return without_own_words(json.loads(json.dumps(entry)))


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_entry_equals_the_recording(name, tmp_path):
    assert listed(name, tmp_path) == RECORDED[name]


def test_no_node_is_listed_that_was_not_compared():
    others = {name for name in REGISTRY.definitions if not name.startswith("VHS_")}  # test_video_combine.py compares
    assert others - set(RECORDED) == EXTRA


@pytest.mark.parametrize("name", sorted(REGISTRY.definitions))
def test_description_is_text(name):
    assert isinstance(TEMPLATES[name]["description"], str)


@pytest.mark.parametrize("name", ["KSampler", "KSamplerAdvanced"])
def test_sampling_nodes_list_every_method_that_works(name, tmp_path):
    inputs = listed(name, tmp_path)["input"]["required"]
    assert inputs["sampler_name"][0] == list(SAMPLERS)
    assert inputs["scheduler"][0] == list(SCHEDULERS)


def test_new_input_file_is_listed_at_once(tmp_path):
    (tmp_path / "input").mkdir()
    assert listed("LoadImage", tmp_path)["input"]["required"]["image"][0] == []
    (tmp_path / "input" / "new.png").touch()
    assert listed("LoadImage", tmp_path)["input"]["required"]["image"][0] == ["new.png"]


def test_load_image_lists_pictures_only(tmp_path):
    (tmp_path / "input").mkdir()
    for name in ("a.png", "b.txt", "c.latent", "d.webp"):
        (tmp_path / "input" / name).touch()
    assert listed("LoadImage", tmp_path)["input"]["required"]["image"][0] == ["a.png", "d.webp"]
    assert listed("LoadLatent", tmp_path)["input"]["required"]["latent"][0] == ["c.latent"]


@pytest.mark.parametrize(
    ("name", "field"), [("LoadImage", "image"), ("LoadImageMask", "image"), ("LoadLatent", "latent")]
)
def test_file_inputs_are_checked_by_the_front(name, field):
    definition, _ = REGISTRY.get(name)
    found = definition.input(field)
    assert found is not None
    assert found.file_check == field
    assert definition.validator_inputs is None


def test_a_small_vae_is_listed_while_both_of_its_files_are_there(tmp_path):
    folder = tmp_path / "models" / "vae_approx"
    folder.mkdir(parents=True)
    (folder / "taesd_decoder.pth").touch()
    (folder / "taef1_decoder.safetensors").touch()
    (folder / "taef1_encoder.safetensors").touch()
    assert listed("VAELoader", tmp_path)["input"]["required"]["vae_name"][0] == ["taef1", "pixel_space"]
    (folder / "taesd_encoder.safetensors").touch()
    assert listed("VAELoader", tmp_path)["input"]["required"]["vae_name"][0] == ["taesd", "taef1", "pixel_space"]
