"""Pictures per minute over HTTP from a server with a warm model, and from submit to the end of a prompt."""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from benchmarks.figures import Figure, median
from tests.serving import serving

PROMPTS = 4
PATIENCE_S = 300.0
PAUSE_S = 0.002
MOST_RATIO = 1.05
OVER_HTTP = ("over HTTP", "submit to end")


class Size(Protocol):
    """What a case says of its pictures."""

    name: str
    width: int
    height: int
    batch: int
    steps: int


def pictures(case: Size, path: Path, work_s: float, *flags: str) -> list[Figure]:
    """Pictures per minute, and from submitting a prompt to its end beside `work_s`, its sampling and decoding alone."""
    with tempfile.TemporaryDirectory() as folder:
        paths = paths_file(Path(folder), path.parent)
        with serving(Path(folder), "--extra-model-paths-config", str(paths), *flags) as url:
            for seed in range(2):  # loads the model, records
                drawn_s(url, graph(case, path.name, seed))
            seconds = median([drawn_s(url, graph(case, path.name, 2 + number)) for number in range(PROMPTS)])
    rate, whole = (f"{case.name} {told}" for told in OVER_HTTP)
    return [Figure(name=rate, value=60.0 * case.batch / seconds, unit="/min"),
            Figure(name=whole, value=seconds * 1000, unit="ms", floor=work_s * 1000,
                   floor_name="sampling and decoding alone", most_ratio=MOST_RATIO)]  # fmt: skip


def paths_file(folder: Path, checkpoints: Path) -> Path:
    """A file of model folders that names where the full-size files lie."""
    path = folder / "paths.yaml"
    path.write_text(f"speed:\n  base_path: {json.dumps(str(checkpoints))}\n  checkpoints: .\n", encoding="utf-8")
    return path


def graph(case: Size, file: str, seed: int) -> dict[str, Any]:
    """The usual text-to-image graph."""
    text = {"class_type": "CLIPTextEncode"}
    latent = {"width": case.width, "height": case.height, "batch_size": case.batch}
    sampler = {
        "seed": seed,
        "steps": case.steps,
        "cfg": 7.0,
        "sampler_name": "euler",
        "scheduler": "karras",
        "denoise": 1.0,
    }
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": file}},
        "2": {**text, "inputs": {"text": "a photograph of a red fox", "clip": ["1", 1]}},
        "3": {**text, "inputs": {"text": "blurry", "clip": ["1", 1]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": latent},
        "5": {"class_type": "KSampler", "inputs": {**sampler, **links}},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "speed"}},
    }


def drawn_s(url: str, prompt: Mapping[str, Any]) -> float:
    """Seconds from posting a prompt until its history stands; RuntimeError when it failed."""
    begin = time.perf_counter()
    prompt_id = asked(url, "/prompt", {"prompt": prompt})["prompt_id"]
    while time.perf_counter() - begin < PATIENCE_S:
        entry = asked(url, f"/history/{prompt_id}").get(prompt_id)
        if entry is not None:
            if entry["status"]["status_str"] != "success":
                raise RuntimeError(str(entry["status"]["messages"][-1])[:1000])
            return time.perf_counter() - begin
        time.sleep(PAUSE_S)
    raise RuntimeError(f"no picture within {PATIENCE_S} s")


def asked(url: str, path: str, body: object = None) -> dict[str, Any]:
    """The JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
