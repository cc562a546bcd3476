"""Recorded samplings on a GPU, and a small checkpoint in half precision, at the bounds of the numeric README.

Only samplers whose noise comes from the CPU: per-step noise is drawn on the device, which no recording can match.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.devices import CPU
from executor.inference.memory import Memory
from executor.inference.sample import sample
from executor.inference.samplers import SAMPLERS, Noise
from tests.parity import calls, samplings, table
from tests.parity.recording import SHIPPED, Recording
from tests.tiny_checkpoint import write_tiny_checkpoint

pytestmark = pytest.mark.gpu

RMS = 0.03
PSNR_DB = 40.0
FLOAT32 = 1e-3
FROM_CPU = {name for name, sampler in SAMPLERS.items() if sampler.noise in (Noise.NONE, Noise.PATH)}
FILES = ("samplers_models", "samplers_variants", "conditioning")
NAMES = [
    (check.file, check.name)
    for part in (samplings, calls)
    for check in part.checks(Recording(SHIPPED))
    if check.file in FILES and (check.name.startswith("sample/") or set(check.name.split("/")) & FROM_CPU)
]


@pytest.fixture(scope="module")
def recording(device: torch.device) -> Recording:
    """The shipped recording, compared on the GPU."""
    return Recording(SHIPPED, device)


@pytest.mark.parametrize(("file", "name"), NAMES, ids=["-".join(each) for each in NAMES])
def test_a_recorded_sampling_ends_alike(recording: Recording, file: str, name: str) -> None:
    part = calls if file == "conditioning" else samplings
    [check] = [each for each in part.checks(recording) if (each.file, each.name) == (file, name)]
    found = table.outcome(check)
    assert not found.failure
    assert all(figure.error <= max(FLOAT32, figure.bound) for figure in found.figures), str(found)


def drawn(checkpoint: Checkpoint, sampler_name: str) -> tuple[Tensor, Tensor]:
    """Latents and picture of a small sampling."""
    positive, negative = checkpoint.clip.encode("a cat"), checkpoint.clip.encode("")
    latent = sample(
        checkpoint.model,
        {"samples": torch.zeros(1, 4, 16, 16)},
        seed=3,
        steps=6,
        cfg=3.0,
        sampler_name=sampler_name,
        scheduler="karras",
        positive=positive,
        negative=negative,
    )
    return latent, checkpoint.vae.decode(latent)


def rms(actual: Tensor, expected: Tensor) -> float:
    """The root mean square of the difference, relative to the expected one's."""
    return float((actual - expected).square().mean().sqrt() / expected.square().mean().sqrt())


def psnr_db(actual: Tensor, expected: Tensor) -> float:
    """Peak signal to noise of pictures in 0..1."""
    return -10 * math.log10(max(float((actual - expected).square().mean()), 1e-12))


@pytest.mark.parametrize("mode", ["auto", "high", "low", "none", "gpu-only"])
@pytest.mark.parametrize("sampler_name", ["euler", "dpmpp_2m", "uni_pc", "dpmpp_2m_sde"])
def test_half_precision_draws_the_same_picture(device: torch.device, tmp_path: Path, sampler_name: str, mode: str):
    path = write_tiny_checkpoint(tmp_path / "tiny.safetensors")
    wanted, picture = drawn(load_checkpoint(path, Memory(CPU)), sampler_name)
    found, shown = drawn(load_checkpoint(path, Memory(device, mode)), sampler_name)
    assert rms(found, wanted) <= RMS
    assert psnr_db(shown, picture) >= PSNR_DB
