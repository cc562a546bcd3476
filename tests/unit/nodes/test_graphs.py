"""Whole graphs of built-in nodes through the real engine, with a small checkpoint of random weights."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import nodes
from executor.context import RunContext, entered
from executor.files import Folders
from executor.graph.pressure import make_cache
from executor.graph.run import run_prompt
from executor.inference.memory import Memory
from executor.messages import Run
from executor.settings import Settings
from tests.tiny_checkpoint import write_tiny_checkpoint

REGISTRY = nodes.load()


class Told:
    """What a run told."""

    def __init__(self):
        self.events, self.pictures, self.texts = [], [], []

    def emit(self, event, data, audience):
        self.events.append((event, data))

    def emit_json(self, event, text, audience):
        self.events.append((event, json.loads(text)))

    def preview(self, node_id, preview, metadata, step=None):
        if step is not None:
            self.events.append(("progress", step))
        self.pictures.append(preview.image())

    def follow(self, sink):
        """Nothing here runs in threads."""

    def text(self, node_id, message):
        self.texts.append((node_id, message))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint file of random weights."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors")


@pytest.fixture(scope="module")
def kept():
    """What stays in a worker from prompt to prompt, so that the checkpoint is loaded once."""
    return SimpleNamespace(memory=Memory(mode="cpu", reserve_bytes=0), cache=make_cache("lru", 1000))


@pytest.fixture
def world(tmp_path, checkpoint, kept):
    """Services with empty folders, but for the small checkpoint among the models."""
    settings = Settings(base_directory=tmp_path, vram_mode="cpu")
    folders = Folders(settings)
    folders.create()
    (folders.models / "checkpoints").mkdir()
    (folders.models / "checkpoints" / "tiny.safetensors").symlink_to(checkpoint)
    return SimpleNamespace(settings=settings, folders=folders, memory=kept.memory, cache=kept.cache)


def run(world, prompt, *targets):
    told = Told()
    job = Run(job_id="job", prompt_json=json.dumps(prompt).encode(), targets=targets)
    with torch.inference_mode(), entered(RunContext(services=world)):
        result = asyncio.run(run_prompt(job=job, registry=REGISTRY, cache=world.cache, events=told, services=world))
    return result, told


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def text_to_image(**sampler):
    settings = {"seed": 5, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="tiny.safetensors"),
        "2": node("CLIPTextEncode", text="a red circle", clip=["1", 1]),
        "3": node("CLIPTextEncode", text="", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "5": node(
            "KSampler",
            model=["1", 0],
            positive=["2", 0],
            negative=["3", 0],
            latent_image=["4", 0],
            **(settings | sampler),
        ),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", images=["6", 0], filename_prefix="drawn"),
    }


def test_text_to_image_writes_a_picture(world):
    result, _ = run(world, text_to_image(), "7")
    assert result.state == "succeeded", result.messages
    with Image.open(world.folders.root("output") / "drawn_00001_.png") as picture:
        assert picture.size == (64, 64)
        assert json.loads(picture.info["prompt"])["5"]["class_type"] == "KSampler"


def test_sampling_tells_every_step_with_a_picture(world):
    _, told = run(world, text_to_image(steps=3), "7")
    assert [data["value"] for event, data in told.events if event == "progress"] == [1, 2, 3]
    assert len(told.pictures) == 3


def test_unknown_checkpoint_names_input_and_nearest_file(world):
    prompt = text_to_image()
    prompt["1"]["inputs"]["ckpt_name"] = "tini.safetensors"
    result, _ = run(world, prompt, "7")
    event, data = result.messages[-1]
    assert (event, data["node_id"]) == ("execution_error", "1")
    assert "'ckpt_name'" in data["exception_message"]
    assert "did you mean 'tiny.safetensors'?" in data["exception_message"]


def test_inpainting_keeps_what_the_mask_leaves_out(world):
    prompt = text_to_image(denoise=0.5)
    prompt["4"] = node("EmptyImage", width=64, height=64, batch_size=1, color=0x3366CC)
    prompt["8"] = node("SolidMask", value=0.0, width=64, height=64)
    prompt["9"] = node("VAEEncode", pixels=["4", 0], vae=["1", 2])
    prompt["10"] = node("SetLatentNoiseMask", samples=["9", 0], mask=["8", 0])
    prompt["5"]["inputs"]["latent_image"] = ["10", 0]
    prompt["11"] = node("SaveLatent", samples=["5", 0], filename_prefix="after")
    prompt["12"] = node("SaveLatent", samples=["9", 0], filename_prefix="before")
    result, _ = run(world, prompt, "11", "12")
    assert result.state == "succeeded", result.messages
    before, after = (latent_of(world, name) for name in ("before", "after"))
    assert torch.allclose(before, after, atol=1e-4)


def latent_of(world, name):
    from safetensors.torch import load_file

    return load_file(world.folders.root("output") / f"{name}_00001_.latent")["latent_tensor"]


def test_advanced_sampler_in_two_parts_equals_one(world):
    whole = text_to_image(steps=4)
    whole["7"] = node("SaveLatent", samples=["5", 0], filename_prefix="before")
    run(world, whole, "7")
    parts = text_to_image()
    shared = {
        key: parts["5"]["inputs"][key]
        for key in ("model", "positive", "negative", "latent_image", "cfg", "sampler_name", "scheduler")
    }
    first = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 2, "return_with_leftover_noise": "enable"}
    second = {"add_noise": "disable", "start_at_step": 2, "end_at_step": 10000, "return_with_leftover_noise": "disable"}
    parts["5"] = node("KSamplerAdvanced", noise_seed=5, steps=4, **(shared | first))
    parts["6"] = node("KSamplerAdvanced", noise_seed=0, steps=4, **(shared | second | {"latent_image": ["5", 0]}))
    parts["7"] = node("SaveLatent", samples=["6", 0], filename_prefix="after")
    run(world, parts, "7")
    assert torch.allclose(latent_of(world, "before"), latent_of(world, "after"), atol=1e-4)


def test_clip_skip_changes_the_conditioning(world):
    prompt = text_to_image()
    prompt["8"] = node("CLIPSetLastLayer", clip=["1", 1], stop_at_clip_layer=-2)
    prompt["7"] = node("SaveLatent", samples=["5", 0], filename_prefix="before")
    run(world, prompt, "7")
    prompt["2"]["inputs"]["clip"] = ["8", 0]
    prompt["7"]["inputs"]["filename_prefix"] = "after"
    run(world, prompt, "7")
    assert not torch.allclose(latent_of(world, "before"), latent_of(world, "after"), atol=1e-4)


def test_picture_over_the_websocket_is_sent_whole(world):
    prompt = {
        "1": node("EmptyImage", width=600, height=8, batch_size=2, color=0xFF0000),
        "2": node("SaveImageWebsocket", images=["1", 0]),
    }
    result, told = run(world, prompt, "2")
    assert result.state == "succeeded", result.messages
    assert [picture.size for picture in told.pictures] == [(600, 8), (600, 8)]


def test_size_of_a_picture_is_told_at_the_node(world):
    prompt = {
        "1": node("EmptyImage", width=24, height=16, batch_size=3, color=0),
        "2": node("GetImageSize", image=["1", 0]),
        "3": node("PreviewAny", source=["2", 1]),
    }
    result, told = run(world, prompt, "3")
    assert result.outputs["3"]["text"] == ["16"]
    assert told.texts == [("2", "width: 24, height: 16\n batch size: 3")]


def test_rebatched_pictures_are_saved_one_by_one(world):
    prompt = {
        "1": node("EmptyImage", width=4, height=4, batch_size=3, color=0),
        "2": node("RebatchImages", images=["1", 0], batch_size=1),
        "3": node("SaveImage", images=["2", 0], filename_prefix="img"),
    }
    result, _ = run(world, prompt, "3")
    assert [picture["filename"] for picture in result.outputs["3"]["images"]] == [
        f"img_0000{number}_.png" for number in (1, 2, 3)
    ]
