"""Products of 8-bit numbers on a GPU: near those of the numbers they stand for, recorded as any other call."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from executor.inference.checkpoint import load_diffusion_model
from executor.inference.eight_bits import CAPABLE, EIGHT, scaled_linear
from executor.inference.memory import Memory
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def capable(device: torch.device) -> None:
    """Matrix units that take 8-bit numbers."""
    if torch.cuda.get_device_capability(device) < CAPABLE:
        pytest.skip("needs a GPU from Ada or Hopper on")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2, 77, 4096])
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_near_the_plain_one(device: torch.device, dtype: torch.dtype, rows: int, bias: bool):
    x = torch.randn(rows, 640, device=device, dtype=dtype)
    weight = (torch.randn(1280, 640, device=device) / 25).to(EIGHT)
    added = torch.randn(1280, device=device) if bias else None
    wanted = torch.nn.functional.linear(x.float(), weight.float(), added)
    found = scaled_linear(x, weight, added).float()
    assert float((found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()) < 0.06


def test_no_product_waits(device: torch.device):
    x, weight = torch.randn(8, 64, device=device).half(), torch.randn(32, 64, device=device).to(EIGHT)
    scaled_linear(x, weight, None)
    torch.cuda.set_sync_debug_mode("error")
    try:
        scaled_linear(x, weight, None)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_network_by_8_bit_products_is_near_and_recorded(device: torch.device, tmp_path: Path):
    path = write_tiny_checkpoint(tmp_path / "wide.safetensors", TinySizes(widths=(64, 128), attends=(True, True)))
    answers = []
    for kind in ("fp8_e4m3fn", "fp8_e4m3fn_fast"):
        model = load_diffusion_model(path, Memory(device), weight_dtype=kind)
        x = torch.linspace(-1, 1, 1024, device=device).reshape(1, 4, 16, 16)
        text = torch.linspace(-1, 1, 77 * 32, device=device).reshape(1, 77, 32)
        with torch.inference_mode(), model.loaded_for(x.shape):
            sigma = torch.tensor([3.0], device=device)
            several = [model.model.apply(x, sigma, context=text).cpu() for _ in range(5)]
        assert all(torch.equal(each, several[0]) for each in several)
        assert model.model.part.recordings is not None
        assert len(model.model.part.recordings) == 1
        answers.append(several[0])
    plain, fast = answers
    assert 0 < float((fast - plain).square().mean().sqrt() / plain.square().mean().sqrt()) < 0.2
