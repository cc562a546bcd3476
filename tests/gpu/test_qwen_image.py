"""Qwen-Image on a GPU: recorded, streamed and in 8 bits it draws what it draws without; it reads as on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

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
from executor.inference.text.loading import load_text_encoder
from executor.settings import VramMode
from tests.gpu.test_no_waiting import watched
from tests.tiny_qwen import write_qwen
from tests.tiny_qwen_image import TINY_QWEN_IMAGE, write_qwen_image

pytestmark = pytest.mark.gpu

SEEN = {"reference_latents": [torch.ones(1, 16, 1, 6, 4), torch.ones(1, 16, 1, 3, 5)]}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "alone": ({}, {}),
    "with pictures": ({}, SEEN),
    "with pictures at time 0": ({"mark": (0,)}, SEEN),
}


@pytest.fixture(scope="module")
def networks(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Networks in bfloat16, as their files are."""
    folder, sizes = tmp_path_factory.mktemp("qwen"), {"width": 128, "inner": 256}
    return {
        kind: write_qwen_image(folder / f"{kind}.safetensors", torch.bfloat16, **sizes, **changes)
        for kind, (changes, _) in KINDS.items()
    }


def opened(
    path: Path, device: torch.device, mode: VramMode = "auto", kind: str = "default", **ways: Any
) -> ModelHandle:
    return load_diffusion_model(path, Memory(device, mode, ways=Ways(**ways)), weight_dtype=kind)


def drawn(model: ModelHandle, **options: object) -> Tensor:
    """Latents of an odd size, the text's sides of two lengths."""
    generator = torch.Generator().manual_seed(2)
    texts = [torch.randn(1, length, TINY_QWEN_IMAGE.context, generator=generator) for length in (9, 5)]
    sides = [[[text, options]] for text in texts]
    settings: Any = {"seed": 5, "steps": 5, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"}
    return sample(model, {"samples": torch.zeros(2, 16, 1, 15, 12)}, positive=sides[0], negative=sides[1], **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_a_recorded_sampling_of_qwen_is_equal_to_the_bit(device: torch.device, networks: dict[str, Path], kind: str):
    options = KINDS[kind][1]
    plain = drawn(opened(networks[kind], device, records=False), **options)
    model = opened(networks[kind], device, records=True)
    for _ in range(2):
        assert torch.equal(drawn(model, **options), plain)
    recordings = model.model.part.recordings
    assert recordings is not None
    assert not recordings.is_given_up
    assert len(recordings) == 2  # the sides have texts of two lengths


@pytest.mark.parametrize("records", [False, True], ids=["plain", "recorded"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_step_of_qwen_waits(device: torch.device, networks: dict[str, Path], kind: str, records: bool):
    model, euler = opened(networks[kind], device, records=records), SAMPLERS["euler"]
    text = torch.ones(1, 5, TINY_QWEN_IMAGE.context)
    guidance = Guidance(positive=[[text, KINDS[kind][1]]], negative=[[-text, {}]], cfg=3.0)
    noise, sigmas = torch.ones(1, 16, 1, 7, 8), ksampler_sigmas(model.model_sampling, "simple", "euler", 5)
    for method in (euler, watched(euler)):  # the first one may wait: it records, where that is asked for
        sample_sigmas(model, {"samples": torch.zeros_like(noise)}, noise, sigmas, method, guidance, seed=1)


def test_streamed_weights_of_qwen_draw_the_same(device: torch.device, networks: dict[str, Path]):
    found, plain = (drawn(opened(networks["alone"], device, mode)) for mode in ("low", "auto"))
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)


def test_weights_of_8_bits_of_qwen_draw_near_it(device: torch.device, networks: dict[str, Path]):
    found, plain = (drawn(opened(networks["alone"], where, kind="fp8_e4m3fn")) for where in (device, CPU))
    assert float((found - plain).norm() / plain.norm()) < 0.05


def test_what_is_drawn_of_qwen_is_near_what_the_cpu_draws(device: torch.device, networks: dict[str, Path]):
    kind = "with pictures at time 0"
    found, plain = (drawn(opened(networks[kind], where), **KINDS[kind][1]) for where in (device, CPU))
    assert float((found - plain).norm() / plain.norm()) < 0.05


@pytest.mark.parametrize("mode", ["auto", "low"], ids=["placed", "travelling"])
def test_words_and_pictures_of_qwen_are_read_as_on_the_cpu(
    device: torch.device, tmp_path: Path, mode: Literal["auto", "low"]
):
    path = write_qwen(tmp_path / "qwen.safetensors")
    clip, plain = (load_text_encoder([path], "qwen_image", Memory(*where)) for where in ((device, mode), (CPU, "cpu")))
    tokens = clip.tokenize("make it red", images=[torch.rand(1, 84, 140, 3, generator=torch.manual_seed(1))])
    [[wanted, _]] = plain.encode_tokens(tokens)
    for _ in range(2):  # the second time in the order that was learned at the first
        [[found, _]] = clip.encode_tokens(tokens)
        assert (found - wanted).abs().max() / wanted.abs().max() < 1e-3
