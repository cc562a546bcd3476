"""A real server is asked to sample what cannot be sampled: it says why, and draws the next picture."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from zlib import crc32

import pytest
import requests
import torch
from safetensors.torch import load_file, save_file

from tests.serving import ROOT, serving
from tests.tiny_families import write_tiny_family

CHECKPOINT = ROOT / "models" / "checkpoints" / "weft-demo.safetensors"
PATIENCE_S = 300
SIZES = {"width": 64, "height": 64, "batch_size": 1}
LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
LARGEST = {"width": 16384, "height": 16384, "batch_size": 512}


def save_latent(path: Path, samples: torch.Tensor) -> None:
    """Write a file that LoadLatent reads."""
    path.parent.mkdir(exist_ok=True)
    save_file({"latent_tensor": samples, "latent_format_version_0": torch.tensor([])}, path)


def save_model(base: Path, kind: str, name: str, shapes: dict[str, tuple[int, int]]) -> None:
    """Write a model file of random numbers."""
    (base / "models" / kind).mkdir(exist_ok=True)
    tensors = {key: torch.randn(shape) for key, shape in shapes.items()}
    save_file(tensors, base / "models" / kind / f"{name}.safetensors")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The address of a server with the demo's checkpoint and a few odd latents."""
    base = tmp_path_factory.mktemp("unfit")
    folder = base / "models" / "checkpoints"
    folder.mkdir(parents=True)
    shutil.copyfile(CHECKPOINT, folder / CHECKPOINT.name)
    tensors = load_file(CHECKPOINT)
    network = {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    save_file(network, folder / "network.safetensors")
    write_tiny_family(folder / "xl.safetensors", "sdxl", vocabulary=49408)
    save_model(base, "loras", "nowhere", {"lora_unet_x.lora_up.weight": (3, 2), "lora_unet_x.lora_down.weight": (2, 3)})
    save_model(base, "loras", "wide", {f"{LAYER}.lora_up.weight": (99, 2), f"{LAYER}.lora_down.weight": (2, 77)})
    save_model(base, "loras", "none", {"some.weight": (3, 2)})
    save_latent(base / "input" / "nan.latent", torch.full((1, 4, 8, 8), torch.nan))
    save_latent(base / "input" / "other.latent", torch.ones(1, 16, 8, 8))
    save_latent(base / "input" / "video.latent", torch.ones(1, 4, 3, 8, 8))
    save_latent(base / "input" / "two.latent", torch.ones(2, 4, 8, 8))
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


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def linked(**links):
    """The graph of a picture with other values at some places: n4_steps is an input of node 4, n9 a whole node."""
    prompt = graph(empty(**SIZES))
    for place, value in links.items():
        number, _, name = place.partition("_")
        if name:
            prompt[number[1:]]["inputs"][name] = value
        else:
            prompt[number[1:]] = value
    return prompt


def with_lora(name):
    lora = node("LoraLoader", model=["1", 0], clip=["1", 1], lora_name=name, strength_model=1.0, strength_clip=1.0)
    return linked(n9=lora, n4_model=["9", 0], n2_clip=["9", 1])


def with_mask(latent, **sizes):
    mask = node("SolidMask", value=1.0, **sizes)
    masked = node("SetLatentNoiseMask", samples=["3", 0], mask=["9", 0])
    return linked(n3=latent, n9=mask, n10=masked, n4_latent_image=["10", 0])


def with_number(name, kind, value):
    """A number that comes by a link, past the checks of numbers in the prompt."""
    return linked(n9=node(kind, value=value), **{f"n4_{name}": ["9", 0]})


def of_pictures(kind, first, second, **inputs):
    pictures = {
        str(place): node("EmptyImage", width=width, height=height, batch_size=batch, color=255)
        for place, (width, height, batch) in enumerate((first, second), start=1)
    }
    return {**pictures, "3": node(kind, **inputs), "4": node("PreviewImage", images=["3", 0])}


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        ({"n3": node("EmptyLatentImage", **{**SIZES, "width": -64})}, "value_smaller_than_min"),
        ({"n3": node("EmptyLatentImage", **{**SIZES, "height": 16392})}, "value_bigger_than_max"),
        ({"n3": node("EmptyLatentImage", **{**SIZES, "batch_size": 5000})}, "value_bigger_than_max"),
        ({"n3": node("EmptyLatentImage", **{**SIZES, "width": "wide"})}, "invalid_input_type"),
        ({"n4_sampler_name": "eulr"}, "value_not_in_list"),
        ({"n4_scheduler": None}, "value_not_in_list"),
        ({"n4_latent_image": ["1", 0]}, "return_type_mismatch"),
    ],
)
def test_values_that_cannot_be_are_refused_at_the_door(url, inputs, kind):
    answer = requests.post(f"{url}/prompt", json={"prompt": linked(**inputs)}, timeout=PATIENCE_S)
    [error] = [error for told in answer.json()["node_errors"].values() for error in told["errors"]]
    assert (answer.status_code, error["type"]) == (400, kind)


def test_a_misspelt_sampler_is_told_the_nearest(url):
    answer = requests.post(f"{url}/prompt", json={"prompt": linked(n4_sampler_name="eulr")}, timeout=PATIENCE_S)
    assert "did you mean 'euler'" in answer.json()["node_errors"]["4"]["errors"][0]["details"]


def test_no_steps_are_refused_at_the_door(url):
    answer = requests.post(f"{url}/prompt", json={"prompt": graph(empty(**SIZES), steps=0)}, timeout=PATIENCE_S)
    [error] = answer.json()["node_errors"]["4"]["errors"]
    assert (answer.status_code, error["type"]) == (400, "value_smaller_than_min")
    assert "steps" in error["details"]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (graph(empty(**LARGEST)), "choose a smaller picture or batch"),
        (graph(loaded("other.latent")), "these latents have 16 channels"),
        (graph(loaded("video.latent")), "latents of videos, sounds and pictures do not stand in for each other"),
        (linked(n1_ckpt_name="network.safetensors"), "holds no CLIP; load one with CLIPLoader"),
        (
            linked(n9=node("CheckpointLoaderSimple", ckpt_name="network.safetensors"), n5_vae=["9", 2]),
            "holds no VAE; load one with VAELoader",
        ),
        (
            linked(n9=node("CheckpointLoaderSimple", ckpt_name="xl.safetensors"), n2_clip=["9", 1]),
            "takes text of width 32, and this conditioning has 80",
        ),
        (with_lora("none.safetensors"), "none.safetensors: looks like nothing known"),
        (
            linked(n3=node("EmptyImage", width=4, height=4, batch_size=1, color=0))
            | {
                "5": node("VAEEncode", pixels=["3", 0], vae=["1", 2]),
                "4": node("SaveLatent", samples=["5", 0], filename_prefix="x"),
                "6": node("PreviewImage", images=["3", 0]),
            },
            "a picture of 4x4 pixels is too small for this VAE",
        ),
        (
            of_pictures(
                "ImageBlend",
                (40, 30, 2),
                (64, 64, 3),
                image1=["1", 0],
                image2=["2", 0],
                blend_factor=0.5,
                blend_mode="normal",
            ),
            "input 'image2': 2 pictures cannot be blended with 3; give one, or as many",
        ),
    ],
    ids=["huge", "other family", "video", "no text model", "no VAE", "other text model", "no LoRA", "small", "batches"],
)
def test_what_cannot_be_sampled_ends_in_words_and_the_next_picture_is_drawn(url, prompt, words):
    event, data = ended(url, prompt)
    assert event == "execution_error"
    assert words in data["exception_message"]
    assert ended(url, graph(empty(**SIZES), seed=crc32(repr(prompt).encode())))[0] == "execution_success"


def test_latents_that_are_no_numbers_make_a_picture_as_in_comfyui(url):
    assert ended(url, graph(loaded("nan.latent")))[0] == "execution_success"
    assert ended(url, graph(empty(**SIZES), seed=2))[0] == "execution_success"


@pytest.mark.parametrize(
    "prompt",
    [
        with_lora("nowhere.safetensors"),
        with_lora("wide.safetensors"),
        with_mask(empty(**SIZES), width=17, height=300),
        with_mask(loaded("two.latent"), width=1, height=1),
        with_number("steps", "PrimitiveInt", 0),
        with_number("steps", "PrimitiveInt", -3),
        with_number("seed", "PrimitiveInt", -1),
        with_number("denoise", "PrimitiveFloat", 3.0),
        with_number("cfg", "PrimitiveFloat", -1e9),
        of_pictures("ImageBatch", (40, 30, 2), (64, 64, 3), image1=["1", 0], image2=["2", 0]),
        of_pictures(
            "ImageScale",
            (40, 30, 2),
            (1, 1, 1),
            image=["1", 0],
            upscale_method="lanczos",
            width=0,
            height=0,
            crop="disabled",
        ),
        of_pictures("ImageCrop", (40, 30, 2), (1, 1, 1), image=["1", 0], width=50, height=50, x=100, y=100),
    ],
    ids=[
        "LoRA of other layers",
        "LoRA of other sizes",
        "mask of another size",
        "one mask for two",
        "no steps",
        "negative steps",
        "negative seed",
        "much denoise",
        "cfg",
        "pictures of two sizes",
        "no size",
        "beyond the edge",
    ],
)
def test_what_comfyui_takes_is_taken(url, prompt):
    assert ended(url, prompt)[0] == "execution_success"
    assert ended(url, graph(empty(**SIZES), seed=crc32(repr(prompt).encode())))[0] == "execution_success"
