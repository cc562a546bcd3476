"""Weights laid out for matrix units draw the same picture within half precision; attention's kernels are measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from executor.inference.cell_norms import cell_norms
from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.devices import CPU, Ways
from executor.inference.layout import CellwiseGroupNorm, is_cellwise
from executor.inference.memory import Memory
from tests.gpu.test_parity import drawn, rms
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

pytestmark = pytest.mark.gpu

SIZES = TinySizes(widths=(64, 128), layers=1, attends=(True, True))


@pytest.fixture(scope="module")
def path(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of widths that matrix units take."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("layout") / "small.safetensors", SIZES)


@pytest.mark.parametrize("ways", [Ways(), Ways(arranges=False), Ways(measures=False), Ways(diffusion=torch.bfloat16)])
def test_each_way_draws_the_picture(device: torch.device, path: Path, ways: Ways):
    wanted, _ = drawn(load_checkpoint(path, Memory(CPU)), "euler")
    found, _ = drawn(load_checkpoint(path, Memory(device, ways=ways)), "euler")
    assert rms(found, wanted) <= (0.03 if ways.diffusion is None else 0.2)


def test_maps_stay_by_cells_all_the_way(device: torch.device, path: Path):
    checkpoint = load_checkpoint(path, Memory(device, ways=Ways(records=False)))
    seen: list[tuple[str, bool]] = []

    def note(module: torch.nn.Module, given: Any, answer: Tensor) -> None:
        if answer.ndim == 4 and answer.shape[1] > 4:
            seen.append((type(module).__name__, is_cellwise(answer)))

    kinds = (torch.nn.Conv2d, CellwiseGroupNorm)
    leaves = [leaf for leaf in checkpoint.model.model.part.module.modules() if isinstance(leaf, kinds)]
    handles = [leaf.register_forward_hook(note) for leaf in leaves]
    drawn(checkpoint, "euler")
    for handle in handles:
        handle.remove()
    assert seen
    assert not [name for name, lies_so in seen if not lies_so]


@pytest.mark.parametrize(("channels", "side"), [(128, 256), (320, 64), (640, 33), (960, 64), (1280, 8), (2560, 2)])
def test_a_norm_of_cells_is_pytorchs(device: torch.device, channels: int, side: int):
    dtype = torch.bfloat16 if channels == 128 else torch.float16  # an autoencoder's, networks'
    plain = torch.nn.GroupNorm(32, channels).requires_grad_(False)
    torch.nn.init.normal_(plain.weight)
    torch.nn.init.normal_(plain.bias)
    ours = CellwiseGroupNorm(32, channels).requires_grad_(False)
    ours.load_state_dict(plain.state_dict())
    plain, ours = plain.to(device, dtype), ours.to(device, dtype)
    x = torch.randn(2, channels, side, side, device=device, dtype=dtype) + 0.5
    laid = x.contiguous(memory_format=torch.channels_last)
    bound = 5e-3 if dtype == torch.float16 else 5e-2
    for _ in range(2):  # compared with PyTorch's operations, then alone
        torch.testing.assert_close(ours(laid), plain(x), rtol=bound, atol=bound)


def test_norms_of_cells_have_a_kernel(device: torch.device):
    pytest.importorskip("triton")
    norm = CellwiseGroupNorm(32, 64).to(device, torch.float16).requires_grad_(False)
    norm(torch.randn(1, 64, 8, 8, device=device).half().to(memory_format=torch.channels_last))
    assert not cell_norms().is_given_up
    assert any(kind[0] == 64 for kind in cell_norms().tried)


def test_attention_kernels_are_measured_and_kept(device: torch.device, path: Path, tmp_path: Path):
    file = tmp_path / "kernels.json"
    memory = Memory(device, ways=Ways(choices_file=file))
    first = sampled(load_checkpoint(path, memory))
    kept = json.loads(file.read_text())
    [choices] = kept.values()
    assert choices
    again = sampled(load_checkpoint(path, Memory(device, ways=Ways(choices_file=file))))
    assert torch.equal(first, again)
    assert json.loads(file.read_text()) == kept


def sampled(checkpoint: Checkpoint) -> Tensor:
    return drawn(checkpoint, "euler")[0]
