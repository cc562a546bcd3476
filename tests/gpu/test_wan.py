"""Wan on a GPU: recorded, streamed and in 8 bits it draws what it draws without; its videos are those of the CPU."""

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
from executor.inference.vae import load_vae
from executor.settings import VramMode
from tests.gpu.test_no_waiting import watched
from tests.tiny_wan import LED, TINY_WAN, VACE, write_wan
from tests.tiny_wan_vae import write_wan_vae

pytestmark = pytest.mark.gpu

SIZE = (1, 16, 3, 7, 6)
KINDS: dict[str, dict[str, Any]] = {"text": {}, "picture": LED, "kept to": VACE}
BESIDE: dict[str, dict[str, Any]] = {
    "text": {},
    "picture": {"concat_latent_image": torch.ones(SIZE), "concat_mask": torch.zeros(1, 4, 3, 7, 6)},
    "kept to": {"vace_frames": [torch.ones(1, 32, 3, 7, 6)], "vace_mask": [torch.ones(1, 64, 3, 7, 6)]},
}


@pytest.fixture(scope="module")
def wans(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network of each kind in float16, as its files are."""
    folder = tmp_path_factory.mktemp("wan")
    return {kind: write_wan(folder / f"{kind}.safetensors", torch.float16, **KINDS[kind]) for kind in KINDS}


def opened(
    path: Path, device: torch.device, mode: VramMode = "auto", kind: str = "default", **ways: Any
) -> ModelHandle:
    return load_diffusion_model(path, Memory(device, mode, ways=Ways(**ways)), weight_dtype=kind)


def sides(**options: object) -> list[list[list[object]]]:
    """A text, and another one to avoid."""
    generator = torch.Generator().manual_seed(2)
    return [[[torch.randn(1, 6, TINY_WAN.context, generator=generator), dict(options)]] for _ in range(2)]


def drawn(model: ModelHandle, **options: object) -> Tensor:
    """Latents of a video of an odd size."""
    positive, negative = sides(**options)
    settings: Any = {"seed": 5, "steps": 4, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"}
    return sample(model, {"samples": torch.zeros(SIZE)}, positive=positive, negative=negative, **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_a_recorded_sampling_of_wan_is_equal_to_the_bit(device: torch.device, wans: dict[str, Path], kind: str):
    plain = drawn(opened(wans[kind], device, records=False), **BESIDE[kind])
    model = opened(wans[kind], device, records=True)
    for _ in range(2):
        assert torch.equal(drawn(model, **BESIDE[kind]), plain)
    recordings = model.model.part.recordings
    assert recordings is not None
    assert not recordings.is_given_up
    assert len(recordings) == 1


@pytest.mark.parametrize("records", [False, True], ids=["plain", "recorded"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_step_of_wan_waits(device: torch.device, wans: dict[str, Path], kind: str, records: bool):
    model, euler = opened(wans[kind], device, records=records), SAMPLERS["euler"]
    positive, negative = sides(**BESIDE[kind])
    guidance = Guidance(positive=positive, negative=negative, cfg=3.0)
    noise, sigmas = torch.ones(SIZE), ksampler_sigmas(model.model_sampling, "simple", "euler", 5)
    for method in (euler, watched(euler)):  # the first one may wait: it records, where that is asked for
        sample_sigmas(model, {"samples": torch.zeros_like(noise)}, noise, sigmas, method, guidance, seed=1)


def test_streamed_weights_of_wan_draw_the_same(device: torch.device, wans: dict[str, Path]):
    found, plain = (drawn(opened(wans["text"], device, mode)) for mode in ("low", "auto"))
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)


def test_weights_of_8_bits_of_wan_draw_near_it(device: torch.device, wans: dict[str, Path]):
    found, plain = (drawn(opened(wans["text"], where, kind="fp8_e4m3fn")) for where in (device, CPU))
    assert float((found - plain).norm() / plain.norm()) < 0.05


def test_wan_draws_near_what_the_cpu_draws(device: torch.device, wans: dict[str, Path]):
    found, plain = (drawn(opened(wans["picture"], where), **BESIDE["picture"]) for where in (device, CPU))
    assert float((found - plain).norm() / plain.norm()) < 0.05


def test_videos_are_encoded_and_decoded_near_what_the_cpu_makes(device: torch.device, tmp_path: Path):
    path = write_wan_vae(tmp_path / "vae.safetensors", dtype=torch.bfloat16)
    on_device, on_cpu = (load_vae(path, Memory(where)) for where in (device, CPU))
    video = torch.rand(5, 16, 24, 3, generator=torch.manual_seed(1))
    latents = [each.encode(video) for each in (on_device, on_cpu)]
    assert float((latents[0] - latents[1]).norm() / latents[1].norm()) < 0.1
    pictures = [each.decode(latents[1]) for each in (on_device, on_cpu)]
    assert float((pictures[0] - pictures[1]).norm() / pictures[1].norm()) < 0.1
