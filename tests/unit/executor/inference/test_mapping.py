"""Weights stay in the mapped file: opening one makes no second copy; weights of 8 bits are used as they are."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from executor.inference.checkpoint import load_checkpoint
from executor.inference.memory import Memory
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

MEBIBYTE = 1 << 20
LARGE = TinySizes(widths=(320, 640), layers=2, text_layers=2, vae_widths=(64, 64, 96, 128))


def anonymous_bytes() -> int:
    """Memory of this process that no file stands behind (proc(5), smaps_rollup)."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no such line")


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells it")
def test_opening_a_large_file_makes_no_second_copy(tmp_path: Path):
    path = write_tiny_checkpoint(tmp_path / "large.safetensors", LARGE)
    size = path.stat().st_size
    load_checkpoint(path, Memory(mode="cpu"))  # what is imported and kept once
    gc.collect()
    before = anonymous_bytes()
    checkpoint = load_checkpoint(path, Memory(mode="cpu"))
    grown = anonymous_bytes() - before
    assert size > 150 * MEBIBYTE
    assert grown < size / 4
    assert checkpoint.model.model.part.resident_bytes() == 0


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_weights_of_eight_bits_compute_as_their_values(tmp_path: Path, dtype: torch.dtype):
    held = load_file(write_tiny_checkpoint(tmp_path / "whole.safetensors"))
    eight = {name: weight.to(dtype) if weight.ndim > 1 else weight for name, weight in held.items()}
    save_file(eight, tmp_path / "eight.safetensors")
    values = {name: weight.to(held[name].dtype) for name, weight in eight.items()}
    save_file(values, tmp_path / "values.safetensors")
    x, context = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 32)
    answers = []
    for name in ("eight", "values"):
        model = load_checkpoint(tmp_path / f"{name}.safetensors", Memory(mode="cpu")).model
        model.load(x.shape)
        with torch.no_grad():
            answers.append(model.model.apply(x, torch.tensor([3.0]), context=context))
    torch.testing.assert_close(*answers, rtol=1e-5, atol=1e-5)
