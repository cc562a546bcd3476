"""A real server draws with Stable Diffusion 3: from a checkpoint, from files of its parts, with what changes it."""

from __future__ import annotations

import pytest
import torch

from tests.process.test_flux import example, picture, save
from tests.serving import serving
from tests.tiny_checkpoint import random_tensors
from tests.tiny_sd3 import TinyMMDiT, checkpoint_tensors, mmdit_shapes
from tests.tiny_texts import encoder_tensors

SIZES = TinyMMDiT(normed=True, dual=(0,))
TEXTS = {
    "clip_l": "clip_l.safetensors",
    "clip_g": "clip_g.safetensors",
    "t5xxl": "t5xxl_fp16.safetensors",
}
LAYER = "transformer.transformer_blocks.0.attn.to_q"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The address of a server with small files of Stable Diffusion 3."""
    base = tmp_path_factory.mktemp("sd3")
    save(base, "checkpoints/sd3.safetensors", checkpoint_tensors(SIZES, torch.float32))
    save(base, "checkpoints/sd3.5_medium.safetensors", checkpoint_tensors(SIZES, torch.float32, texts=()))
    save(base, "checkpoints/sd3_without_t5.safetensors", checkpoint_tensors(SIZES, texts=("clip_l", "clip_g")))
    save(base, "diffusion_models/sd3.safetensors", random_tensors({"": mmdit_shapes(SIZES)}, torch.float32))
    save(base, "vae/sd3.safetensors", vae_alone())
    for name, path in TEXTS.items():
        save(base, f"text_encoders/{path}", encoder_tensors(name))
    factors = {f"{LAYER}.lora_B.weight": torch.ones(128, 2), f"{LAYER}.lora_A.weight": torch.ones(2, 128)}
    save(base, "loras/style.safetensors", factors)
    with serving(base, "--cpu") as address:
        yield address


def vae_alone() -> dict[str, torch.Tensor]:
    """The checkpoint's own autoencoder."""
    prefix = "first_stage_model."
    tensors = checkpoint_tensors(SIZES, torch.float32)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def node(kind: str, **inputs: object) -> dict:
    return {"class_type": kind, "inputs": inputs}


WHOLE = {"all": node("CheckpointLoaderSimple", ckpt_name="sd3.safetensors")}
FROM_WHOLE = {"model": ["all", 0], "clip": ["all", 1], "vae": ["all", 2]}
FILES = {f"clip_name{number}": TEXTS[name] for number, name in enumerate(("t5xxl", "clip_g", "clip_l"), 1)}
PARTS = {
    "model": node("UNETLoader", unet_name="sd3.safetensors", weight_dtype="default"),
    "clip": node("TripleCLIPLoader", **FILES),
    "vae": node("VAELoader", vae_name="sd3.safetensors"),
}
FROM_PARTS = {"model": ["model", 0], "clip": ["clip", 0], "vae": ["vae", 0]}


def graph(loaders: dict, links: dict, **more: dict) -> dict:
    """A picture of 64 x 48 pixels in two steps; nodes of the same name take the place of these."""
    return {
        **loaders,
        "text": node("CLIPTextEncode", text="a red circle", clip=links["clip"]),
        "not": node("CLIPTextEncode", text="", clip=links["clip"]),
        "empty": node("EmptySD3LatentImage", width=64, height=48, batch_size=1),
        "drawn": node(
            "KSampler",
            model=links["model"],
            positive=["text", 0],
            negative=["not", 0],
            latent_image=["empty", 0],
            seed=5,
            steps=2,
            cfg=4.5,
            sampler_name="dpmpp_2m",
            scheduler="sgm_uniform",
            denoise=1.0,
        ),
        "pixels": node("VAEDecode", samples=["drawn", 0], vae=links["vae"]),
        "saved": node("SaveImage", images=["pixels", 0], filename_prefix="sd3"),
        **more,
    }


def test_a_checkpoint_and_its_parts_draw_the_same_picture(url):
    first = picture(url, graph(WHOLE, FROM_WHOLE))
    assert first.size == (64, 48)
    assert picture(url, graph(PARTS, FROM_PARTS)).tobytes() == first.tobytes()


def test_the_examples_graph_draws_by_the_files_that_people_have(url):
    assert picture(url, example("sd3.json")).size == (64, 48)


def test_the_checkpoints_model_reads_texts_by_three_files(url):
    mixed = graph({**WHOLE, "clip": PARTS["clip"]}, {**FROM_WHOLE, "clip": ["clip", 0]})
    assert picture(url, mixed).tobytes() == picture(url, graph(WHOLE, FROM_WHOLE)).tobytes()


def test_a_checkpoint_without_t5_draws_another_one(url):
    lacking = {"all": node("CheckpointLoaderSimple", ckpt_name="sd3_without_t5.safetensors")}
    assert picture(url, graph(lacking, FROM_WHOLE)).tobytes() != picture(url, graph(WHOLE, FROM_WHOLE)).tobytes()


CHANGES = {
    "a LoRA": node("LoraLoaderModelOnly", model=["all", 0], lora_name="style.safetensors", strength_model=0.5),
    "a shift": node("ModelSamplingSD3", model=["all", 0], shift=6.0),
    "a skipped block": node(
        "SkipLayerGuidanceSD3", model=["all", 0], layers="1", scale=3.0, start_percent=0.0, end_percent=1.0
    ),
    "eight bits": node("UNETLoader", unet_name="sd3.safetensors", weight_dtype="fp8_e4m3fn"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_model_changes_the_picture(url, change):
    changed = picture(url, graph({**WHOLE, "changed": CHANGES[change]}, {**FROM_WHOLE, "model": ["changed", 0]}))
    assert changed.tobytes() != picture(url, graph(WHOLE, FROM_WHOLE)).tobytes()


def test_a_text_for_each_encoder_changes_the_picture(url):
    texts = {"clip_l": "a", "clip_g": "red", "t5xxl": "circle"}
    three = node("CLIPTextEncodeSD3", clip=["all", 1], empty_padding="none", **texts)
    assert (
        picture(url, graph(WHOLE, FROM_WHOLE, text=three)).tobytes() != picture(url, graph(WHOLE, FROM_WHOLE)).tobytes()
    )


def test_a_picture_is_redrawn_in_part(url):
    started = {
        "image": node("EmptyImage", width=64, height=48, batch_size=1, color=0x2080C0),
        "empty": node("VAEEncode", pixels=["image", 0], vae=["all", 2]),
    }
    prompt = graph(WHOLE, FROM_WHOLE, **started)
    prompt["drawn"]["inputs"]["denoise"] = 0.5
    assert picture(url, prompt).size == (64, 48)
