"""The benchmark of the GPU measures what it says, tried on the CPU at small sizes; peers have the layouts' sizes."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_http, gpu_peers
from benchmarks.figures import Figure, table
from benchmarks.gpu import CASES, Case
from benchmarks.gpu_files import drawn
from benchmarks.gpu_peers import CONFIGS, built, pytorchs_attention, step_of
from executor.inference.attention_kernels import CUDNN, refusals
from executor.inference.checkpoint import load_checkpoint
from executor.inference.devices import CPU
from executor.inference.memory import Memory
from tests.full.random_checkpoint import KEYS
from tests.tiny_checkpoint import write_tiny_checkpoint

SMALL = Case(name="small", layout="sd15", width=64, height=64, batch=2, steps=2)


@pytest.mark.parametrize("refused", [False, True])
def test_a_peer_may_choose_cudnns_attention_unless_it_refused_something(refused: bool):
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    refusals.cache_clear()
    if refused:
        refusals().add((CUDNN, "a shape"))
    try:
        with pytorchs_attention():
            assert torch.backends.cuda.cudnn_sdp_enabled() is not refused
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
        refusals.cache_clear()


@pytest.mark.parametrize("layout", sorted(CONFIGS))
def test_a_peer_has_as_many_weights_as_the_layout(layout: str):
    shapes = json.loads(gzip.decompress(KEYS.read_bytes()))[layout]
    wanted = sum(math.prod(shape) for name, _, shape in shapes if name.startswith("model.diffusion_model."))
    network = built(layout, torch.device("meta"), torch.float16)
    assert sum(weight.numel() for weight in network.parameters()) == wanted
    assert next(network.parameters()).dtype == torch.float16


@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=lambda case: case.layout)
def test_a_peers_step_takes_its_inputs(case: Case):
    meta = torch.device("meta")
    like = {"device": meta, "dtype": torch.float16, "rows": 2 * case.batch, "frames": case.batch, "size": case.size}
    answer = step_of(built(case.layout, meta, torch.float16), case.layout, like)()
    assert answer.shape == (2 * case.batch, 4, *case.size)


def test_a_videos_step_takes_its_inputs(monkeypatch: pytest.MonkeyPatch):
    small = {"block_out_channels": (32,) * 4, "num_attention_heads": (1,) * 4, "layers_per_block": 1}
    monkeypatch.setitem(gpu_peers.CONFIGS, "svd_xt", small)  # type: ignore[arg-type]
    like = {"device": CPU, "dtype": torch.float32, "rows": 2, "frames": 3, "size": (8, 16)}
    answer = step_of(built("svd_xt", CPU, torch.float32), "svd_xt", like)()
    assert answer.shape == (2, 3, 4, 8, 16)


def test_steps_and_work_are_counted(tmp_path: Path):
    checkpoint = load_checkpoint(write_tiny_checkpoint(tmp_path / "tiny.safetensors"), Memory(CPU))
    once, twice = (gpu.step_flops(replace(SMALL, batch=batch), checkpoint) for batch in (1, 2))
    assert once > 1e6
    assert twice == pytest.approx(2 * once, rel=0.05)
    assert gpu.steps_per_s(SMALL, checkpoint, CPU) > 0
    assert gpu.work_s(SMALL, checkpoint, CPU) > 0
    assert gpu.matrix_rate(CPU, 64, torch.float32) > 0


@pytest.mark.parametrize("group", [gpu.figures, gpu.ways, gpu.beside_compiled], ids=["gpu", "ways", "compiled"])
def test_without_a_device_the_table_says_so(group: Callable[[], list[Figure]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    lines = table(group()).splitlines()[1:]
    assert any("SDXL 1024x1024 b1" in line for line in lines)
    assert all(line.endswith("not measured: no GPU") for line in lines)


def test_a_case_that_fails_is_told_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def measured(case: Case, device: torch.device, *_: object) -> list[Figure]:
        if case is CASES[0]:
            raise RuntimeError("CUDA error: an illegal memory access\nmore")
        return [Figure(name=f"{case.name} steps", value=1.0, unit="it/s")]

    for name, stand_in in {"cuda": lambda: CPU, "matrix_rate": lambda device: 1e12, "steps_of": measured}.items():
        monkeypatch.setattr(gpu, name, stand_in)
    monkeypatch.setattr(gpu, "served", measured)
    found = {figure.name: figure for figure in gpu.figures()}
    assert found[f"{CASES[0].name} steps"].absent == "CUDA error: an illegal memory access"
    assert all(found[f"{case.name} steps"].value == 1.0 for case in CASES[1:])
    assert "an illegal memory access" in capsys.readouterr().err


def test_random_files_have_the_layouts_tensors():
    generator = torch.Generator().manual_seed(0)
    assert drawn("a.norm.weight", "F16", [4], generator).tolist() == [1.0] * 4
    assert drawn("position_ids", "I64", [1, 3], generator).tolist() == [[0, 1, 2]]
    weight = drawn("a.weight", "F16", [64, 256], generator)
    assert (weight.dtype, weight.shape) == (torch.float16, (64, 256))
    assert float(weight.float().std()) == pytest.approx(0.5 / 16, rel=0.1)


@pytest.mark.full
def test_pictures_come_over_http(tmp_path: Path):
    path = write_tiny_checkpoint(tmp_path / "tiny.safetensors")
    per_minute, seconds = gpu_http.pictures(SMALL, path, 0.001, "--cpu")
    assert per_minute.value > 0
    assert seconds.value > 0
