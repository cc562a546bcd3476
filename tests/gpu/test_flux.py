"""Flux.1 on a GPU: recorded, streamed and in 8 bits it draws what it draws without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from executor.inference.checkpoint import load_diffusion_model
from executor.inference.denoising import Guidance, sample_sigmas
from executor.inference.devices import CPU, Ways
from executor.inference.handle import ModelHandle
from executor.inference.memory import Memory
from executor.inference.sample import sample
from executor.inference.samplers import SAMPLERS
from executor.inference.schedules import ksampler_sigmas
from executor.settings import VramMode
from tests.gpu.test_no_waiting import watched
from tests.tiny_flux import TINY_FLUX, write_flux

pytestmark = pytest.mark.gpu

PICTURES = {"alone": {}, "with further pictures": {"reference_latents": [torch.ones(1, 16, 6, 4)]}}


@pytest.fixture(scope="module")
def flux(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network in bfloat16, as its files are."""
    path = tmp_path_factory.mktemp("flux") / "flux.safetensors"
    return write_flux(path, torch.bfloat16, width=128, heads=2, inner=256)


def opened(
    path: Path, device: torch.device, mode: VramMode = "auto", kind: str = "default", **ways: Any
) -> ModelHandle:
    return load_diffusion_model(path, Memory(device, mode, ways=Ways(**ways)), weight_dtype=kind)


def drawn(model: ModelHandle, **options: object) -> Tensor:
    """Latents of an odd size, the text's sides of two lengths."""
    generator = torch.Generator().manual_seed(2)
    texts = [torch.randn(1, length, TINY_FLUX.context, generator=generator) for length in (9, 5)]
    vector = torch.randn(1, TINY_FLUX.vector, generator=generator)
    sides = [[[text, {"pooled_output": vector, "guidance": 2.0, **options}]] for text in texts]
    settings: Any = {"seed": 5, "steps": 5, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"}
    return sample(model, {"samples": torch.zeros(2, 16, 15, 12)}, positive=sides[0], negative=sides[1], **settings)


@pytest.mark.parametrize("options", PICTURES.values(), ids=PICTURES)
def test_a_recorded_sampling_of_flux_is_equal_to_the_bit(device: torch.device, flux: Path, options: dict[str, Any]):
    plain, model = drawn(opened(flux, device, records=False), **options), opened(flux, device, records=True)
    for _ in range(2):
        assert torch.equal(drawn(model, **options), plain)
    recordings = model.model.part.recordings
    assert recordings is not None
    assert not recordings.is_given_up
    assert len(recordings) == 2  # the sides have texts of two lengths


@pytest.mark.parametrize("records", [False, True], ids=["plain", "recorded"])
def test_no_step_of_flux_waits(device: torch.device, flux: Path, records: bool):
    model, euler = opened(flux, device, records=records), SAMPLERS["euler"]
    text = torch.ones(1, 5, TINY_FLUX.context)
    sides = [[[text, {"reference_latents": [torch.ones(1, 16, 3, 5)]}]], [[-text, {"attention_bias": text[..., 0]}]]]
    guidance = Guidance(positive=sides[0], negative=sides[1], cfg=3.0)
    noise, sigmas = torch.ones(1, 16, 7, 8), ksampler_sigmas(model.model_sampling, "simple", "euler", 5)
    for method in (euler, watched(euler)):  # the first one may wait: it records, where that is asked for
        sample_sigmas(model, {"samples": torch.zeros_like(noise)}, noise, sigmas, method, guidance, seed=1)


def test_streamed_weights_of_flux_draw_the_same(device: torch.device, flux: Path):
    found, plain = (drawn(opened(flux, device, mode)) for mode in ("low", "auto"))
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)


def test_weights_of_8_bits_of_flux_draw_near_it(device: torch.device, flux: Path):
    found, plain = (drawn(opened(flux, where, kind="fp8_e4m3fn")) for where in (device, CPU))
    assert float((found - plain).norm() / plain.norm()) < 0.05


def test_flux_draws_near_what_the_cpu_draws(device: torch.device, flux: Path):
    found, plain = (drawn(opened(flux, where)) for where in (device, CPU))
    assert float((found - plain).norm() / plain.norm()) < 0.05
