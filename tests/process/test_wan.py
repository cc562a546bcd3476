"""A real server draws videos with Wan: from a text, from a picture, by two networks, saved as WEBP and as MP4."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import av
import pytest
import requests
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.serving import serving
from tests.tiny_checkpoint import random_tensors
from tests.tiny_umt5 import umt5_tensors
from tests.tiny_video import open_vision_shapes
from tests.tiny_wan import CONFIG, LED, wan_tensors
from tests.tiny_wan_vae import grouped_shape, vae_tensors

PATIENCE_S = 300
FRAMES = 9


def save(base: Path, name: str, tensors: dict[str, torch.Tensor]) -> None:
    """Write a model file."""
    (base / "models" / name).parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, base / "models" / name, metadata=CONFIG)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The address of a server with small files of Wan."""
    base = tmp_path_factory.mktemp("wan")
    save(base, "diffusion_models/t2v.safetensors", wan_tensors())
    save(base, "diffusion_models/low_noise.safetensors", wan_tensors(seed=1))
    save(base, "diffusion_models/i2v.safetensors", wan_tensors(**{**LED, "picture": 64}))
    save(base, "diffusion_models/ti2v.safetensors", wan_tensors(in_channels=48, out_channels=48))
    save(base, "text_encoders/umt5_xxl.safetensors", umt5_tensors())
    save(base, "vae/wan_2.1_vae.safetensors", vae_tensors())
    save(base, "vae/wan2.2_vae.safetensors", vae_tensors(shape=grouped_shape()))
    save(base, "clip_vision/clip_vision_h.safetensors", random_tensors({"": open_vision_shapes()}, torch.float32))
    with serving(base, "--cpu") as address:
        yield address


def node(kind: str, **inputs: object) -> dict[str, object]:
    return {"class_type": kind, "inputs": inputs}


def graph(network: str = "t2v", vae: str = "wan_2.1_vae", **more: dict) -> dict:
    """A video of 64 x 48 pixels from a text; `more` replaces and adds nodes."""
    settings = {"seed": 5, "steps": 2, "cfg": 3.0, "sampler_name": "uni_pc", "scheduler": "simple", "denoise": 1.0}
    sides = {"positive": ["text", 0], "negative": ["nothing", 0], "latent_image": ["empty", 0]}
    return {
        "unet": node("UNETLoader", unet_name=f"{network}.safetensors", weight_dtype="default"),
        "clip": node("CLIPLoader", clip_name="umt5_xxl.safetensors", type="wan"),
        "vae": node("VAELoader", vae_name=f"{vae}.safetensors"),
        "text": node("CLIPTextEncode", text="a cat runs", clip=["clip", 0]),
        "nothing": node("CLIPTextEncode", text="", clip=["clip", 0]),
        "model": node("ModelSamplingSD3", model=["unet", 0], shift=8.0),
        "empty": node("EmptyHunyuanLatentVideo", width=64, height=48, length=FRAMES, batch_size=1),
        "drawn": node("KSampler", model=["model", 0], **sides, **settings),
        "pixels": node("VAEDecode", samples=["drawn", 0], vae=["vae", 0]),
        "saved": node(
            "SaveAnimatedWEBP",
            images=["pixels", 0],
            filename_prefix="wan",
            fps=16.0,
            lossless=True,
            quality=80,
            method="default",
        ),
        **more,
    }


def led(picture: int, seed: int = 5) -> dict:
    """Nodes of a video that a picture of one colour leads."""
    size = {"width": 64, "height": 48, "length": FRAMES, "batch_size": 1}
    settings = {"seed": seed, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    links = {"positive": ["led", 0], "negative": ["led", 1], "latent_image": ["led", 2]}
    return {
        "picture": node("EmptyImage", width=64, height=48, batch_size=1, color=picture),
        "eye": node("CLIPVisionLoader", clip_name="clip_vision_h.safetensors"),
        "seen": node("CLIPVisionEncode", clip_vision=["eye", 0], image=["picture", 0], crop="none"),
        "led": node(
            "WanImageToVideo",
            positive=["text", 0],
            negative=["nothing", 0],
            vae=["vae", 0],
            start_image=["picture", 0],
            clip_vision_output=["seen", 0],
            **size,
        ),
        "drawn": node("KSampler", model=["model", 0], **links, **settings),
    }


def ended(url: str, prompt: dict) -> dict:
    """The history entry of a prompt."""
    answer = requests.post(f"{url}/prompt", json={"prompt": prompt}, timeout=60)
    assert answer.status_code == 200, answer.text
    prompt_id, deadline = answer.json()["prompt_id"], time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        history = requests.get(f"{url}/history/{prompt_id}", timeout=30).json()
        if history:
            return history[prompt_id]
        time.sleep(0.1)
    raise AssertionError(f"{prompt_id} did not end")


def outputs(url: str, prompt: dict) -> dict:
    """What a prompt that succeeded saved."""
    entry = ended(url, prompt)
    assert entry["status"]["status_str"] == "success", entry["status"]
    return entry["outputs"]


def viewed(url: str, saved: dict) -> io.BytesIO:
    """A saved file."""
    return io.BytesIO(requests.get(f"{url}/view", params=saved, timeout=60).content)


def frames(url: str, prompt: dict) -> list[bytes]:
    """The pixels of each picture of the WEBP that a prompt saves."""
    [saved] = outputs(url, prompt)["saved"]["images"]
    with Image.open(viewed(url, saved)) as video:
        assert video.size == (64, 48)
        found = []
        for number in range(video.n_frames):
            video.seek(number)
            found.append(video.convert("RGB").tobytes())
    return found


def test_a_text_becomes_a_video(url):
    found = frames(url, graph())
    assert len(found) == FRAMES
    assert len(set(found)) > 1
    assert frames(url, graph(text=node("CLIPTextEncode", text="a cat", clip=["clip", 0]))) != found


def test_it_is_saved_as_a_film(url):
    prompt = graph(
        film=node("CreateVideo", images=["pixels", 0], fps=16.0),
        saved=node("SaveVideo", video=["film", 0], filename_prefix="video/wan", format="auto", codec="auto"),
    )
    [saved] = outputs(url, prompt)["saved"]["images"]
    with av.open(viewed(url, saved)) as film:
        [stream] = film.streams.video
        assert (stream.width, stream.height) == (64, 48)
        assert sum(1 for _ in film.decode(stream)) == FRAMES


def test_a_picture_becomes_a_video(url):
    first, second = (frames(url, graph("i2v", **led(colour))) for colour in (0xFF0000, 0x0000FF))
    assert len(first) == FRAMES
    assert first != second


def test_two_networks_draw_one_video(url):
    steps = {"noise_seed": 5, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple"}
    sides = {"positive": ["text", 0], "negative": ["nothing", 0]}
    begun = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 1, "return_with_leftover_noise": "enable"}
    goes_on = {"add_noise": "disable", "start_at_step": 1, "end_at_step": 1000, "return_with_leftover_noise": "disable"}

    def drawn(low: str) -> list[bytes]:
        nodes = {
            "other": node("UNETLoader", unet_name=f"{low}.safetensors", weight_dtype="default"),
            "low": node("ModelSamplingSD3", model=["other", 0], shift=8.0),
            "begun": node("KSamplerAdvanced", model=["model", 0], **sides, latent_image=["empty", 0], **steps, **begun),
            "drawn": node("KSamplerAdvanced", model=["low", 0], **sides, latent_image=["begun", 0], **steps, **goes_on),
        }
        return frames(url, graph(**nodes))

    assert drawn("low_noise") != drawn("t2v")


def test_a_video_of_the_smaller_network_goes_on_from_a_picture(url):
    begun = {
        "picture": node("EmptyImage", width=64, height=64, batch_size=1, color=0xFF8800),
        "empty": node(
            "Wan22ImageToVideoLatent",
            vae=["vae", 0],
            start_image=["picture", 0],
            width=64,
            height=64,
            length=FRAMES,
            batch_size=1,
        ),
    }
    [saved] = outputs(url, graph("ti2v", "wan2.2_vae", **begun))["saved"]["images"]
    with Image.open(viewed(url, saved)) as video:
        assert (video.size, video.n_frames) == ((64, 64), FRAMES)


def test_latents_of_another_model_are_refused_in_words(url):
    prompt = graph("ti2v")  # with the latents of the other
    prompt["drawn"]["inputs"]["latent_image"] = ["full", 0]
    prompt["full"] = node("VAEEncode", pixels=["picture", 0], vae=["vae", 0])
    prompt["picture"] = node("EmptyImage", width=64, height=48, batch_size=5, color=0xFF0000)
    assert "have 16 channels, but the model works on 48" in json.dumps(ended(url, prompt)["status"])
