"""The recorded full-size workflows, posted to a real server as any client would (numeric README, "Full model")."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
import torch
from PIL import Image
from safetensors.torch import load
from torch import Tensor

from tests.maths.recordings import FOLDER, cases, error, tensors
from tests.serving import serving

pytestmark = pytest.mark.full

RELATIVE = 1e-3
LEVELS = 2
GIGABYTE = 10**9
PATIENCE_S = 900
WORKFLOWS = {name: case["workflow"] for name, case in cases("full_sd15").items()}


@contextmanager
def full_server(models: Path, base: Path, *flags: str) -> Iterator[str]:
    """A server whose folders hold the random full-size files and the recordings' pictures."""
    places = {
        "checkpoints": "sd15_random",
        "embeddings": "embedding_sd15_random",
        "loras": "lora_sd15_random",
        "controlnet": "controlnet_sd15_random",
    }
    for kind, name in places.items():
        (base / "models" / kind).mkdir(parents=True)
        (base / "models" / kind / f"{name}.safetensors").symlink_to(models / f"{name}.safetensors")
    shutil.copytree(FOLDER / "h_inputs", base / "input")
    with serving(base, *flags) as url:
        yield url


@pytest.fixture(scope="module")
def url(full_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with default memory use, shared by the workflows: the checkpoint is loaded once."""
    with full_server(full_folder, tmp_path_factory.mktemp("full"), "--cpu", "--cache-lru", "20") as address:
        yield address


def draw(url: str, workflow: object) -> tuple[Tensor, Tensor]:
    """Post a workflow, wait for it, download the saved latent and the pixels of the picture."""
    answer = requests.post(f"{url}/prompt", json={"prompt": workflow}, timeout=60)
    assert answer.status_code == 200, answer.text
    prompt_id = answer.json()["prompt_id"]
    deadline = time.monotonic() + PATIENCE_S
    while not (entry := requests.get(f"{url}/history/{prompt_id}", timeout=60).json()):
        assert time.monotonic() < deadline, "the prompt takes too long"
        time.sleep(0.2)
    done = entry[prompt_id]
    assert done["status"]["completed"], done["status"]["messages"][-1]
    found = {kind: item for output in done["outputs"].values() for kind, item in output.items()}
    [latents, *pictures] = [
        requests.get(f"{url}/view", params=item, timeout=60).content for item in found["latents"] + found["images"]
    ]
    latent = load(latents)["latent_tensor"]
    pixels = [np.asarray(Image.open(BytesIO(data)).convert("RGB")) for data in pictures]
    return latent, torch.from_numpy(np.stack(pixels))


def compare(name: str, latent: Tensor, pixels: Tensor) -> None:
    """Hold latents and pixels against a recorded workflow."""
    recorded = tensors("full_sd15")
    assert error(latent, recorded[f"{name}/latent"]) < RELATIVE
    assert (pixels.int() - recorded[f"{name}/image"].int()).abs().max() <= LEVELS


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_give_the_recorded_pictures(url: str, name: str):
    compare(name, *draw(url, WORKFLOWS[name]))


def worker_peak_bytes(base: Path) -> int:
    """The most memory that the worker of the server on `base` ever had resident, mapped pages included."""
    [front] = [child for child in psutil.Process().children() if str(base) in child.cmdline()]
    [worker] = [child for child in front.children() if "executor.worker" in child.cmdline()]
    text = Path(f"/proc/{worker.pid}/status").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def test_lowvram_stays_within_the_file_and_two_gigabytes(full_folder: Path, tmp_path: Path):
    with full_server(full_folder, tmp_path, "--lowvram") as address:
        latent, pixels = draw(address, WORKFLOWS["euler"])
        peak = worker_peak_bytes(tmp_path)
    size = (full_folder / "sd15_random.safetensors").stat().st_size
    assert size < peak < size + 2 * GIGABYTE
    compare("euler", latent, pixels)
