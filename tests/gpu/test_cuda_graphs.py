"""Recorded calls of a network on a GPU: the same pixels as plain ones, void when weights change, given back in need."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.cuda_graphs import CudaRecorder
from executor.inference.devices import Ways
from executor.inference.freeu import FreeUV2
from executor.inference.memory import Memory
from executor.inference.sample import sample
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

pytestmark = pytest.mark.gpu

SIZES = TinySizes(widths=(64, 128), layers=1, attends=(True, True))


@pytest.fixture(scope="module")
def path(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of widths that matrix units take."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("graphs") / "small.safetensors", SIZES)


def opened(path: Path, device: torch.device, *, records: bool) -> Checkpoint:
    return load_checkpoint(path, Memory(device, ways=Ways(records=records)))


def drawn(checkpoint: Checkpoint, *, side: int = 32, batch: int = 1, steps: int = 5, cfg: float = 5.0) -> Tensor:
    text = torch.linspace(-1, 1, 77 * SIZES.context).reshape(1, 77, SIZES.context)
    settings: Any = {"seed": 5, "steps": steps, "sampler_name": "euler", "scheduler": "karras"}
    latent: Any = {"samples": torch.zeros(batch, 4, side, side)}
    return sample(checkpoint.model, latent, cfg=cfg, positive=[[text, {}]], negative=[[-text, {}]], **settings)


def recorded(checkpoint: Checkpoint) -> int:
    recordings = checkpoint.model.model.part.recordings
    assert recordings is not None
    assert not recordings.is_given_up
    return len(recordings)


@pytest.mark.parametrize(("side", "batch", "cfg"), [(32, 1, 5.0), (32, 3, 5.0), (24, 1, 1.0), (17, 2, 5.0)])
def test_a_recorded_sampling_is_equal_to_the_bit(device: torch.device, path: Path, side: int, batch: int, cfg: float):
    plain = drawn(opened(path, device, records=False), side=side, batch=batch, cfg=cfg)
    checkpoint = opened(path, device, records=True)
    for _ in range(3):
        assert torch.equal(drawn(checkpoint, side=side, batch=batch, cfg=cfg), plain)
    assert recorded(checkpoint) == 1


def test_shapes_by_turns_are_equal_to_the_bit(device: torch.device, path: Path):
    single, checkpoint = opened(path, device, records=False), opened(path, device, records=True)
    plain = {side: drawn(single, side=side) for side in (16, 24, 32, 48)}
    for side in (16, 24, 32, 48, 16, 48, 24, 32):
        assert torch.equal(drawn(checkpoint, side=side), plain[side])
    assert recorded(checkpoint) == 4


def test_a_lora_is_seen_and_taken_off(device: torch.device, path: Path):
    checkpoint = opened(path, device, records=True)
    plain = drawn(checkpoint)
    other = checkpoint.model.clone()
    name = next(name for name in other.named_weights() if name.endswith("input_blocks.0.0.weight"))
    other.add_patches({name: (torch.full(other.named_weights()[name].shape, 0.05),)})
    changed = drawn(Checkpoint(model=other, clip=checkpoint.clip, vae=checkpoint.vae))
    assert not torch.equal(changed, plain)
    assert torch.equal(drawn(checkpoint), plain)


def test_freeu_is_recorded_and_equal_to_the_bit(device: torch.device, path: Path):
    pictures = []
    for records in (False, True):
        checkpoint = opened(path, device, records=records)
        model = checkpoint.model.clone()
        model.set_model_output_block_patch(FreeUV2(SIZES.widths[0], (1.3, 1.4), (0.9, 0.2)))
        pictures.append(drawn(Checkpoint(model=model, clip=checkpoint.clip, vae=checkpoint.vae)))
    assert torch.equal(*pictures)
    assert not torch.equal(pictures[1], drawn(checkpoint))
    assert recorded(checkpoint) == 2


def test_recordings_give_their_memory_back(device: torch.device, path: Path):
    checkpoint = opened(path, device, records=True)
    drawn(checkpoint)
    part = checkpoint.model.model.part
    assert part.recorded_bytes() > 0
    before = torch.cuda.memory_reserved(device)
    assert part.recordings is not None
    part.recordings.clear()
    assert torch.cuda.memory_reserved(device) < before
    drawn(checkpoint)
    assert recorded(checkpoint) == 1


def test_a_failed_recording_gives_its_memory_back(device: torch.device):
    def reading(x: Tensor) -> Tensor:
        answer = x @ x.mT
        answer.sum().item()  # not allowed while a graph is recorded
        return answer

    x, before = torch.ones(512, 512, device=device), private_pools()
    with pytest.raises(RuntimeError, match="capture"):
        CudaRecorder(device).record(lambda: reading(x))
    gc.collect()
    torch.cuda.empty_cache()
    assert private_pools() <= before


def private_pools() -> set[tuple[int, int]]:
    """The pools of memory that recordings have."""
    return {tuple(segment["segment_pool_id"]) for segment in torch.cuda.memory_snapshot()} - {(0, 0)}


def test_a_failed_recording_leaves_the_device_usable(device: torch.device, path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoint = opened(path, device, records=True)
    plain = drawn(opened(path, device, records=False))
    network = checkpoint.model.model.part.module
    original = type(network).embedded

    def reading(self: Any, timesteps: Tensor, *args: Any) -> Tensor:
        if torch.cuda.is_current_stream_capturing():
            timesteps.sum().item()  # not allowed while a graph is recorded
        return original(self, timesteps, *args)

    monkeypatch.setattr(type(network), "embedded", reading)
    assert torch.equal(drawn(checkpoint), plain)
    recordings = checkpoint.model.model.part.recordings
    assert recordings is not None
    assert recordings.is_given_up
    assert torch.cuda.current_stream(device) == torch.cuda.default_stream(device)
    torch.randn(2, device=device)  # its generator draws again
    monkeypatch.undo()
    again = opened(path, device, records=True)
    assert torch.equal(drawn(again), plain)
    assert recorded(again) == 1
