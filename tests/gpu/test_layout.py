"""Weights laid out for matrix units draw the same picture within half precision; attention's kernels are measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

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


@pytest.mark.parametrize("channels", [320, 640, 1280])
def test_a_norm_of_cells_is_pytorchs(device: torch.device, channels: int):
    plain = torch.nn.GroupNorm(32, channels).to(device, torch.float16)
    ours = CellwiseGroupNorm(32, channels).to(device, torch.float16)
    x = torch.randn(2, channels, 64, 64, device=device, dtype=torch.float16) + 0.5
    found = ours(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, plain(x), rtol=5e-3, atol=5e-3)


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
