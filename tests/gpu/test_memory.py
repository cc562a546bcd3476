"""Memory of a GPU over many prompts, and when it runs out."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from executor.errors import OutOfMemory
from executor.inference.checkpoint import load_checkpoint
from executor.inference.memory import Memory
from tests.gpu.test_parity import drawn
from tests.tiny_checkpoint import write_tiny_checkpoint

pytestmark = pytest.mark.gpu


def test_two_hundred_prompts_of_three_models_do_not_grow(device: torch.device, tmp_path: Path):
    memory = Memory(device)
    paths = [write_tiny_checkpoint(tmp_path / f"{number}.safetensors") for number in range(3)]
    models = [load_checkpoint(path, memory) for path in paths]
    after: list[int] = []
    for number in range(200):
        drawn(models[number % 3], "euler")
        gc.collect()
        after.append(torch.cuda.memory_allocated(device))
    assert max(after[6:]) <= max(after[:6])


def test_a_device_without_room_tells_its_figures_and_draws_the_next_prompt(device: torch.device, tmp_path: Path):
    memory = Memory(device)
    model = load_checkpoint(write_tiny_checkpoint(tmp_path / "tiny.safetensors"), memory)
    gc.collect()
    torch.cuda.empty_cache()  # what other tests left with PyTorch is room beside the share
    torch.cuda.set_per_process_memory_fraction(1e-6, device)
    try:
        with pytest.raises(OutOfMemory, match=r"MiB are free on cuda"):
            drawn(model, "euler")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    drawn(model, "euler")
