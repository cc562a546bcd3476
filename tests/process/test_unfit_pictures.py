"""A real server is asked to sample what cannot be sampled: it says why, and draws the next picture."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import requests
import torch
from safetensors.torch import save_file

from tests.serving import ROOT, serving

CHECKPOINT = ROOT / "models" / "checkpoints" / "weft-demo.safetensors"
PATIENCE_S = 120
SIZES = {"width": 64, "height": 64, "batch_size": 1}
LARGEST = {"width": 16384, "height": 16384, "batch_size": 512}


def save_latent(path: Path, samples: torch.Tensor) -> None:
    """Write a file that LoadLatent reads."""
    path.parent.mkdir(exist_ok=True)
    save_file({"latent_tensor": samples, "latent_format_version_0": torch.tensor([])}, path)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The address of a server with the demo's checkpoint and a few odd latents."""
    base = tmp_path_factory.mktemp("unfit")
    folder = base / "models" / "checkpoints"
    folder.mkdir(parents=True)
    shutil.copyfile(CHECKPOINT, folder / CHECKPOINT.name)
    save_latent(base / "input" / "nan.latent", torch.full((1, 4, 8, 8), torch.nan))
    save_latent(base / "input" / "other.latent", torch.ones(1, 16, 8, 8))
    with serving(base, "--cpu") as address:
        yield address


def graph(latent, **sampling):
    text = {"class_type": "CLIPTextEncode", "inputs": {"text": "a red circle", "clip": ["1", 1]}}
    settings = {"seed": 1, "steps": 1, "cfg": 2.5, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0]}
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT.name}},
        "2": text,
        "3": latent,
        "4": {"class_type": "KSampler", "inputs": {**links, **settings, **sampling}},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}},
    }


def empty(**sizes):
    return {"class_type": "EmptyLatentImage", "inputs": sizes}


def loaded(name):
    return {"class_type": "LoadLatent", "inputs": {"latent": name}}


def ended(url, prompt):
    """The last message of a prompt: its event and its data."""
    answer = requests.post(f"{url}/prompt", json={"prompt": prompt}, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    prompt_id, until = answer.json()["prompt_id"], time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        entry = requests.get(f"{url}/history/{prompt_id}", timeout=PATIENCE_S).json().get(prompt_id)
        if entry is not None:
            return entry["status"]["messages"][-1]
        time.sleep(0.05)
    raise AssertionError("the prompt did not end")


def test_no_steps_are_refused_at_the_door(url):
    answer = requests.post(f"{url}/prompt", json={"prompt": graph(empty(**SIZES), steps=0)}, timeout=PATIENCE_S)
    [error] = answer.json()["node_errors"]["4"]["errors"]
    assert (answer.status_code, error["type"]) == (400, "value_smaller_than_min")
    assert "steps" in error["details"]


@pytest.mark.parametrize(
    ("latent", "words"),
    [
        (empty(**LARGEST), "choose a smaller picture or batch"),
        (loaded("other.latent"), "these latents have 16 channels"),
    ],
)
def test_what_cannot_be_sampled_ends_in_words_and_the_next_picture_is_drawn(url, latent, words):
    event, data = ended(url, graph(latent))
    assert event == "execution_error"
    assert words in data["exception_message"]
    assert ended(url, graph(empty(**SIZES)))[0] == "execution_success"


def test_latents_that_are_no_numbers_make_a_picture_as_in_comfyui(url):
    assert ended(url, graph(loaded("nan.latent")))[0] == "execution_success"
    assert ended(url, graph(empty(**SIZES), seed=2))[0] == "execution_success"
