"""A real server draws with Flux.1: from files of its parts, from one checkpoint, with a LoRA and a further picture."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
import requests
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.serving import ROOT, serving
from tests.tiny_checkpoint import random_tensors
from tests.tiny_flux import WRAPPED, flux_tensors
from tests.tiny_sd3 import vae_of_sixteen_channels
from tests.tiny_texts import L_WIDTH, T5_WIDTH, encoder_tensors, whole_texts

PATIENCE_S = 300
WIDTHS = {"context": T5_WIDTH, "vector": L_WIDTH}
LAYER = "transformer.transformer_blocks.0.attn.to_q"


def save(base: Path, name: str, tensors: dict[str, torch.Tensor]) -> None:
    """Write a model file."""
    (base / "models" / name).parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, base / "models" / name)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The address of a server with small files of Flux.1."""
    base = tmp_path_factory.mktemp("flux")
    vae = random_tensors({"": vae_of_sixteen_channels()})
    save(base, "diffusion_models/flux1-dev.safetensors", flux_tensors(**WIDTHS))
    save(base, "text_encoders/clip_l.safetensors", encoder_tensors("clip_l"))
    save(base, "text_encoders/t5xxl_fp16.safetensors", encoder_tensors("t5xxl"))
    save(base, "vae/ae.safetensors", vae)
    parts = {**whole_texts("clip_l", "t5xxl"), **{f"vae.{name}": tensor for name, tensor in vae.items()}}
    save(base, "checkpoints/flux.safetensors", {**flux_tensors(WRAPPED, **WIDTHS), **parts})
    factors = {f"{LAYER}.lora_B.weight": torch.ones(64, 2), f"{LAYER}.lora_A.weight": torch.ones(2, 64)}
    save(base, "loras/style.safetensors", factors)
    with serving(base, "--cpu") as address:
        yield address


PARTS = {
    "model": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors", "weight_dtype": "default"}},
    "clip": {
        "class_type": "DualCLIPLoader",
        "inputs": {"clip_name1": "t5xxl_fp16.safetensors", "clip_name2": "clip_l.safetensors", "type": "flux"},
    },
    "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}},
}
FROM_PARTS = {"model": ["model", 0], "clip": ["clip", 0], "vae": ["vae", 0]}
WHOLE = {"all": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "flux.safetensors"}}}
FROM_WHOLE = {"model": ["all", 0], "clip": ["all", 1], "vae": ["all", 2]}


def graph(loaders: dict, links: dict, text: list[object] | None = None, **more: dict) -> dict:
    """A picture of 64 x 48 pixels through the parts of custom sampling."""
    return {
        **loaders,
        **more,
        "text": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red circle", "clip": links["clip"]}},
        "told": {"class_type": "FluxGuidance", "inputs": {"conditioning": text or ["text", 0], "guidance": 2.5}},
        "empty": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 1}},
        "noise": {"class_type": "RandomNoise", "inputs": {"noise_seed": 5}},
        "guider": {"class_type": "BasicGuider", "inputs": {"model": links["model"], "conditioning": ["told", 0]}},
        "method": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "levels": {
            "class_type": "BasicScheduler",
            "inputs": {"model": links["model"], "scheduler": "simple", "steps": 2, "denoise": 1.0},
        },
        "drawn": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {
                "noise": ["noise", 0],
                "guider": ["guider", 0],
                "sampler": ["method", 0],
                "sigmas": ["levels", 0],
                "latent_image": ["empty", 0],
            },
        },
        "pixels": {"class_type": "VAEDecode", "inputs": {"samples": ["drawn", 0], "vae": links["vae"]}},
        "saved": {"class_type": "SaveImage", "inputs": {"images": ["pixels", 0], "filename_prefix": "flux"}},
    }


def picture(url: str, prompt: dict) -> Image.Image:
    """What a prompt saves."""
    answer = requests.post(f"{url}/prompt", json={"prompt": prompt}, timeout=60)
    assert answer.status_code == 200, answer.text
    [saved] = done(url, answer.json()["prompt_id"])["outputs"]["saved"]["images"]
    return Image.open(io.BytesIO(requests.get(f"{url}/view", params=saved, timeout=60).content))


def example(name: str) -> dict:
    """A graph of the examples, made small."""
    graph = json.loads((ROOT / "examples" / name).read_text(encoding="utf-8"))
    [empty] = [node["inputs"] for node in graph.values() if node["class_type"] == "EmptySD3LatentImage"]
    [drawn] = [node["inputs"] for node in graph.values() if node["class_type"] == "KSampler"]
    empty |= {"width": 64, "height": 48}
    drawn["steps"] = 2
    [number] = [number for number, node in graph.items() if node["class_type"] == "SaveImage"]
    return {"saved" if each == number else each: node for each, node in graph.items()}


def done(url: str, prompt_id: str) -> dict:
    """The history entry of a prompt that succeeded."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        history = requests.get(f"{url}/history/{prompt_id}", timeout=30).json()
        if history:
            assert history[prompt_id]["status"]["status_str"] == "success", history[prompt_id]["status"]
            return history[prompt_id]
        time.sleep(0.1)
    raise AssertionError(f"{prompt_id} did not end")


def test_parts_and_a_checkpoint_draw_the_same_picture(url):
    first = picture(url, graph(PARTS, FROM_PARTS))
    assert first.size == (64, 48)
    assert picture(url, graph(WHOLE, FROM_WHOLE)).tobytes() == first.tobytes()


def test_the_examples_graph_draws_by_the_files_that_people_have(url):
    assert picture(url, example("flux.json")).size == (64, 48)


def test_the_usual_sampler_draws_it_too(url):
    settings = {"seed": 5, "steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    links = {"model": ["all", 0], "positive": ["told", 0], "negative": ["text", 0], "latent_image": ["empty", 0]}
    prompt = graph(WHOLE, FROM_WHOLE)
    plain = picture(url, prompt)
    prompt["drawn"] = {"class_type": "KSampler", "inputs": {**links, **settings}}
    assert picture(url, prompt).tobytes() == plain.tobytes()


CHANGES = {
    "a LoRA": (
        {
            "style": {
                "class_type": "LoraLoaderModelOnly",
                "inputs": {"model": ["all", 0], "lora_name": "style.safetensors", "strength_model": 0.5},
            }
        },
        {"model": ["style", 0]},
        None,
    ),
    "a shift by the picture's size": (
        {
            "shifted": {
                "class_type": "ModelSamplingFlux",
                "inputs": {"model": ["all", 0], "max_shift": 1.15, "base_shift": 0.5, "width": 64, "height": 48},
            }
        },
        {"model": ["shifted", 0]},
        None,
    ),
    "a text for each encoder": (
        {
            "two": {
                "class_type": "CLIPTextEncodeFlux",
                "inputs": {"clip": ["all", 1], "clip_l": "a", "t5xxl": "a long one", "guidance": 3.5},
            }
        },
        {},
        ["two", 0],
    ),
    "a further picture": (
        {
            "image": {"class_type": "EmptyImage", "inputs": {"width": 40, "height": 72, "batch_size": 1, "color": 255}},
            "latent": {"class_type": "VAEEncode", "inputs": {"pixels": ["image", 0], "vae": ["all", 2]}},
            "seen": {"class_type": "ReferenceLatent", "inputs": {"conditioning": ["text", 0], "latent": ["latent", 0]}},
        },
        {},
        ["seen", 0],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_it_changes_the_picture(url, change):
    nodes, links, text = CHANGES[change]
    changed = picture(url, graph(WHOLE, {**FROM_WHOLE, **links}, text, **nodes))
    assert changed.size == (64, 48)
    assert changed.tobytes() != picture(url, graph(WHOLE, FROM_WHOLE)).tobytes()
