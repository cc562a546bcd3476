"""Two workers that save under one prefix at the same time: every picture has a file of its own."""

from __future__ import annotations

import time
from pathlib import Path

import requests

from tests.serving import serving

PROMPTS, BATCH = 10, 3
PATIENCE_S = 120.0


def saving(colour: int) -> dict[str, object]:
    picture = {"width": 256, "height": 256, "batch_size": BATCH, "color": colour}
    return {
        "1": {"class_type": "EmptyImage", "inputs": picture},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "same"}},
    }


def test_workers_do_not_write_over_one_another(tmp_path: Path):
    with serving(tmp_path, "--cpu", "--workers", "2") as url, requests.Session() as session:
        until(lambda: {each["state"] for each in session.get(f"{url}/health").json()["workers"]} == {"idle"})
        answers = [session.post(f"{url}/prompt", json={"prompt": saving(number)}) for number in range(PROMPTS)]
        ids = [answer.json()["prompt_id"] for answer in answers]
        until(lambda: not session.get(f"{url}/prompt").json()["exec_info"]["queue_remaining"])
        entries = [session.get(f"{url}/history/{prompt_id}").json()[prompt_id] for prompt_id in ids]
    told = [file["filename"] for entry in entries for file in entry["outputs"]["2"]["images"]]
    assert len(set(told)) == len(told) == PROMPTS * BATCH
    assert sorted(told) == sorted(path.name for path in (tmp_path / "output").iterdir())


def until(holds) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)
