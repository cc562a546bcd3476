"""Two hundred prompts that switch between three models leave the worker's memory as it was."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import torch
from safetensors.torch import save_file

from tests.serving import serving
from tests.tiny_checkpoint import write_tiny_checkpoint
from tests.tiny_families import write_tiny_family

MB = 1 << 20
PROMPTS, WARM_UP = 200, 40
MOST_GROWTH = 16 * MB  # of allocators' slack; one of these checkpoints weighs 8 to 20 MB in float32
PATIENCE_S = 300
MODELS = ("sd15", "sd2", "sdxl")
LAYER = "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q"


def prompt(number: int) -> dict[str, Any]:
    """A picture of one of the models, every second one under a LoRA of another strength each time."""
    model, clip = (["1", 0], ["1", 1]) if number % 2 else (["2", 0], ["2", 1])
    strengths = {"strength_model": 0.1 + number / 100, "strength_clip": 0.0}
    settings = {"seed": number, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    sides = {"positive": ["3", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": f"{MODELS[number % 3]}.safetensors"}},
        "2": {
            "class_type": "LoraLoader",
            "inputs": {"model": ["1", 0], "clip": ["1", 1], "lora_name": "lora.safetensors", **strengths},
        },
        "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": clip, "text": f"circle {number}"}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "5": {"class_type": "KSampler", "inputs": {"model": model, **sides, **settings}},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "PreviewImage", "inputs": {"images": ["6", 0]}},
    }


def run(url: str, number: int) -> None:
    """Post a prompt and wait until it has ended well."""
    answer = requests.post(f"{url}/prompt", json={"prompt": prompt(number)}, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    prompt_id, until = answer.json()["prompt_id"], time.monotonic() + PATIENCE_S
    while not (entry := requests.get(f"{url}/history/{prompt_id}", timeout=PATIENCE_S).json()):
        assert time.monotonic() < until, "the prompt takes too long"
        time.sleep(0.02)
    assert entry[prompt_id]["status"]["completed"], entry[prompt_id]["status"]["messages"][-1]


def worker_bytes(base: Path) -> int:
    """What the worker of the server on `base` has resident for itself."""
    [front] = [child for child in psutil.Process().children() if str(base) in child.cmdline()]
    [worker] = [child for child in front.children() if "executor.worker" in child.cmdline()]
    return int(worker.memory_full_info().uss)


@pytest.mark.soak
def test_two_hundred_prompts_of_three_models_do_not_grow(tmp_path: Path):
    for kind in ("checkpoints", "loras"):
        (tmp_path / "models" / kind).mkdir(parents=True)
    folder = tmp_path / "models" / "checkpoints"
    write_tiny_checkpoint(folder / "sd15.safetensors")
    for family in ("sd2", "sdxl"):
        write_tiny_family(folder / f"{family}.safetensors", family)
    lora = {f"{LAYER}.lora_up.weight": torch.ones(24, 1), f"{LAYER}.lora_down.weight": torch.ones(1, 24)}
    save_file(lora, tmp_path / "models" / "loras" / "lora.safetensors")
    sizes = []
    with serving(tmp_path, "--cpu") as url:
        for number in range(PROMPTS):
            run(url, number)
            if number >= WARM_UP:
                sizes.append(worker_bytes(tmp_path))
    grown = min(sizes[-20:]) - min(sizes[:20])
    print(f"{PROMPTS} prompts: {sizes[0] / MB:.0f} MB after {WARM_UP}, grown by {grown / MB:.1f} MB")  # noqa: T201
    assert grown < MOST_GROWTH
