"""No step of a sampling on a GPU waits for the device: PyTorch refuses whatever would, within the steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from executor.context import RunContext, entered
from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.denoising import Guidance, sample_sigmas
from executor.inference.devices import Ways
from executor.inference.memory import Memory
from executor.inference.sample import prepare_callback
from executor.inference.samplers import SAMPLERS, Sampler
from executor.inference.schedules import ksampler_sigmas
from tests.tiny_checkpoint import write_tiny_checkpoint

pytestmark = pytest.mark.gpu

STEPS = 6
ADAPTIVE = {"dpm_adaptive"}


@contextmanager
def refusing() -> Iterator[None]:
    """Whatever makes the host wait raises."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def watched(method: Sampler) -> Sampler:
    def run(*args: Any, **kwargs: Any) -> Tensor:
        with refusing():
            return method.function(*args, **kwargs)

    return replace(method, function=run)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "recorded"])
def checkpoint(request: pytest.FixtureRequest, device: torch.device, tmp_path_factory: Any) -> Checkpoint:
    """A small checkpoint on the GPU, whose calls are recorded or not."""
    path: Path = tmp_path_factory.mktemp("waiting") / "tiny.safetensors"
    return load_checkpoint(write_tiny_checkpoint(path), Memory(device, ways=Ways(records=request.param)))


def drawn(checkpoint: Checkpoint, method: Sampler, **latent: Tensor) -> None:
    text = torch.linspace(-1, 1, 77 * 32).reshape(1, 77, 32)
    guidance = Guidance(positive=[[text, {}]], negative=[[-text, {"mask": torch.ones(1, 8, 8)}]], cfg=3.0)
    given: Any = {"samples": torch.ones(1, 4, 8, 8), **latent}
    model = checkpoint.model
    sigmas = ksampler_sigmas(model.model_sampling, "karras", method.name, STEPS)
    told = prepare_callback(model, STEPS)

    def on_step(index: int, x: Tensor, denoised: Tensor) -> None:
        told(index, denoised, x, STEPS)

    with entered(RunContext()):
        sample_sigmas(model, given, torch.ones(1, 4, 8, 8), sigmas, method, guidance, seed=1, on_step=on_step)


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - ADAPTIVE))
def test_no_step_waits(checkpoint: Checkpoint, name: str):
    drawn(checkpoint, SAMPLERS[name])  # records, where that is asked for: once it may wait
    drawn(checkpoint, watched(SAMPLERS[name]))


def test_a_mask_makes_no_step_wait(checkpoint: Checkpoint):
    drawn(checkpoint, SAMPLERS["euler"], noise_mask=torch.ones(1, 64, 64))  # measures and records: once it may wait
    drawn(checkpoint, watched(SAMPLERS["euler"]), noise_mask=torch.ones(1, 64, 64))


def test_an_adaptive_sampler_is_caught(checkpoint: Checkpoint):
    with pytest.raises(RuntimeError, match="synchroniz"):
        drawn(checkpoint, watched(SAMPLERS["dpm_adaptive"]))
