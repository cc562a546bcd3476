"""A real server draws with Qwen-Image: from its parts, from one checkpoint, with a LoRA, and changes a picture."""

from __future__ import annotations

import pytest
import torch

from tests.process.test_flux import picture, save
from tests.serving import serving
from tests.tiny_qwen import WIDTH, qwen_tensors
from tests.tiny_qwen_image import WRAPPED, qwen_image_tensors
from tests.tiny_wan_vae import vae_tensors

LAYER = "transformer_blocks.0.attn.to_q"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The address of a server with small files of Qwen-Image."""
    base = tmp_path_factory.mktemp("qwen")
    texts = qwen_tensors(dtype=torch.float16)
    save(base, "diffusion_models/qwen_image_bf16.safetensors", qwen_image_tensors(context=WIDTH))
    eight = {name: each.to(torch.float8_e4m3fn) for name, each in qwen_image_tensors(context=WIDTH).items()}
    save(base, "diffusion_models/qwen_image_fp8_e4m3fn.safetensors", eight)
    save(base, "text_encoders/qwen_2.5_vl_7b.safetensors", texts)
    save(base, "vae/qwen_image_vae.safetensors", vae_tensors())
    whole = {f"text_encoders.qwen25_7b.transformer.{name}": each for name, each in texts.items()}
    parts = qwen_image_tensors(WRAPPED, context=WIDTH) | vae_tensors("vae.") | whole
    save(base, "checkpoints/qwen_image.safetensors", parts)
    factors = {f"{LAYER}.lora_up.weight": torch.ones(64, 2), f"{LAYER}.lora_down.weight": torch.ones(2, 64)}
    save(base, "loras/Lightning-4steps.safetensors", {**factors, f"{LAYER}.alpha": torch.tensor(1.0)})
    with serving(base, "--cpu") as address:
        yield address


def parts(network: str = "qwen_image_bf16.safetensors") -> dict:
    """The loaders of the template."""
    texts = {"clip_name": "qwen_2.5_vl_7b.safetensors", "type": "qwen_image"}
    return {
        "model": {"class_type": "UNETLoader", "inputs": {"unet_name": network, "weight_dtype": "default"}},
        "clip": {"class_type": "CLIPLoader", "inputs": texts},
        "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "qwen_image_vae.safetensors"}},
    }


FROM_PARTS = {"model": ["model", 0], "clip": ["clip", 0], "vae": ["vae", 0]}
WHOLE = {"all": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "qwen_image.safetensors"}}}
FROM_WHOLE = {"model": ["all", 0], "clip": ["all", 1], "vae": ["all", 2]}


def graph(loaders: dict, links: dict, **more: dict) -> dict:
    """The template of text to picture, at 64 x 48 pixels."""
    settings = {"seed": 5, "steps": 2, "cfg": 2.5, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    sides = {"positive": ["text", 0], "negative": ["avoid", 0]}
    return {
        **loaders,
        "shifted": {"class_type": "ModelSamplingAuraFlow", "inputs": {"model": links["model"], "shift": 3.1}},
        "text": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red circle", "clip": links["clip"]}},
        "avoid": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": links["clip"]}},
        "empty": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 1}},
        "drawn": {
            "class_type": "KSampler",
            "inputs": {"model": ["shifted", 0], "latent_image": ["empty", 0], **sides, **settings},
        },
        "pixels": {"class_type": "VAEDecode", "inputs": {"samples": ["drawn", 0], "vae": links["vae"]}},
        "saved": {"class_type": "SaveImage", "inputs": {"images": ["pixels", 0], "filename_prefix": "qwen"}},
        **more,
    }


def test_parts_and_a_checkpoint_draw_the_same_picture(url):
    first = picture(url, graph(parts(), FROM_PARTS))
    assert first.size == (64, 48)
    assert picture(url, graph(WHOLE, FROM_WHOLE)).tobytes() == first.tobytes()


def changed(links: dict) -> dict[str, dict]:
    """What each change puts into the graph."""
    grey = {"class_type": "EmptyImage", "inputs": {"width": 96, "height": 96, "batch_size": 1, "color": 8421504}}
    told = {"clip": links["clip"], "vae": links["vae"], "prompt": "make it blue"}
    lora = {"model": links["model"], "lora_name": "Lightning-4steps.safetensors", "strength_model": 1.0}
    return {
        "a LoRA": {
            "style": {"class_type": "LoraLoaderModelOnly", "inputs": lora},
            "shifted": {"class_type": "ModelSamplingAuraFlow", "inputs": {"model": ["style", 0], "shift": 3.1}},
        },
        "another shift": {
            "shifted": {"class_type": "ModelSamplingAuraFlow", "inputs": {"model": links["model"], "shift": 1.0}}
        },
        "a picture to change": {
            "grey": grey,
            "text": {"class_type": "TextEncodeQwenImageEdit", "inputs": {**told, "image": ["grey", 0]}},
        },
        "two pictures": {
            "grey": grey,
            "text": {
                "class_type": "TextEncodeQwenImageEditPlus",
                "inputs": {**told, "image1": ["grey", 0], "image2": ["grey", 0]},
            },
        },
    }


@pytest.mark.parametrize("change", list(changed(FROM_WHOLE)))
def test_what_changes_the_model_or_its_text_changes_the_picture(url, change):
    plain = picture(url, graph(WHOLE, FROM_WHOLE))
    other = picture(url, graph(WHOLE, FROM_WHOLE, **changed(FROM_WHOLE)[change]))
    assert other.size == plain.size
    assert other.tobytes() != plain.tobytes()


def test_a_network_in_8_bits_draws_nearly_the_same(url):
    plain = picture(url, graph(parts(), FROM_PARTS))
    eight = picture(url, graph(parts("qwen_image_fp8_e4m3fn.safetensors"), FROM_PARTS))
    both = [torch.frombuffer(bytearray(each.tobytes()), dtype=torch.uint8).float() for each in (plain, eight)]
    assert 0 < float((both[0] - both[1]).abs().mean()) < 12
