"""A full-size random SDXL file on a real server: two prompts, compared with diffusers' and transformers' modules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from executor.inference.checkpoint import load_checkpoint
from executor.inference.memory import Memory
from executor.inference.text.clip import Clip
from tests.full.sdxl_reference import Sdxl, euler
from tests.full.test_sd15_server import GIGABYTE, LEVELS, draw, worker_peak_bytes
from tests.maths.recordings import error
from tests.serving import serving

pytestmark = pytest.mark.full

SIDE, STEPS, CFG, SEED = 256, 4, 5.0, 7  # four steps: at whole timesteps
CAT, SHIP, NEGATIVE = "a red cat sitting on a wooden table", "a ship at night", "blurry"
BOUND = 1e-4  # measured 6.5e-6; half a timestep beside the right one makes 8e-4
SPARE = 3 * GIGABYTE  # beside the mapped file: the largest layers in float32, activations, the libraries


def workflow(text: str) -> dict[str, Any]:
    """Text to image as any client posts it."""
    sampling = {"seed": SEED, "steps": STEPS, "cfg": CFG, "sampler_name": "euler", "scheduler": "normal", "denoise": 1}
    sources = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl_random.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": text}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": NEGATIVE}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": SIDE, "height": SIDE, "batch_size": 1}},
        "5": {"class_type": "KSampler", "inputs": {**sampling, **sources}},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "xl"}},
        "8": {"class_type": "SaveLatent", "inputs": {"samples": ["5", 0], "filename_prefix": "xl"}},
    }


class Drawn(NamedTuple):
    """What a server gave: latents and pixels of the cat, the ship, and the cat once more."""

    pictures: list[tuple[Tensor, Tensor]]
    peak_bytes: int


@pytest.fixture(scope="module")
def drawn(full_sdxl: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawn]:
    """Three prompts on one server that keeps no results and streams weights from the file."""
    base = tmp_path_factory.mktemp("sdxl")
    folder = base / "models" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / full_sdxl.name).symlink_to(full_sdxl)
    with serving(base, "--lowvram", "--cache-none") as url:
        pictures = [draw(url, workflow(text)) for text in (CAT, SHIP, CAT)]
        yield Drawn(pictures, worker_peak_bytes(base))


def test_the_same_prompt_gives_the_same_bits_and_another_one_another_picture(drawn: Drawn):
    [(cat, pixels), (ship, _), (again, same)] = drawn.pictures
    assert bool(cat.isfinite().all())
    assert bool(ship.isfinite().all())
    assert torch.equal(cat, again)
    assert torch.equal(pixels, same)
    assert error(ship, cat) > 0.01


def test_the_worker_stays_within_the_file_and_three_gigabytes(drawn: Drawn, full_sdxl: Path):
    assert drawn.peak_bytes < full_sdxl.stat().st_size + SPARE


def ids_of(text: str, clip: Clip) -> dict[str, list[int]]:
    """The numbers of a text's tokens for each encoder."""
    return {name: [token for token, _ in chunks[0]] for name, chunks in clip.tokenize(text).items()}


def test_latents_and_pixels_are_those_of_diffusers(drawn: Drawn, full_sdxl: Path):
    reference, clip = Sdxl(full_sdxl), load_checkpoint(full_sdxl, Memory(mode="cpu")).clip
    tokens = [ids_of(text, clip) for text in (CAT, NEGATIVE)]
    texts, pooled = zip(*(reference.text(each["l"], each["g"]) for each in tokens), strict=True)
    start = torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(SEED))
    wanted = euler(reference.noise_of(SIDE), start, texts, pooled, STEPS, CFG)
    latent, pixels = drawn.pictures[0]
    found = error(latent, wanted)
    levels = int((pixels.int() - (reference.decode(latent) * 255).int()).abs().max())
    text = f"latents {found:.2e} relative, pixels {levels} levels, peak {drawn.peak_bytes / GIGABYTE:.1f} GB"
    print(text)  # noqa: T201
    assert found < BOUND
    assert levels <= LEVELS
