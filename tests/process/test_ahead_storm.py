"""Kills, deletions and interrupts at random moments while pictures are written beside the next prompt's work.

Whatever happens, no prompt is lost, none is told twice, and every file is named by the history.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil
import pytest
import requests
from PIL import Image

from tests.serving import serving

PATIENCE_S = 120.0
ADDRESS = "/ws?clientId=me"
WAITING = 5  # prompts that wait at a time
ENDS = frozenset({"execution_success", "execution_error", "execution_interrupted"})


@dataclass
class Heard:
    """What one websocket client was told: event and prompt."""

    events: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def listening(self, url: str) -> Iterator[None]:
        """Listen on a thread as the client `me`."""
        ready, stop = threading.Event(), threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._listen(url, ready, stop)))
        thread.start()
        assert ready.wait(PATIENCE_S)
        try:
            yield
        finally:
            stop.set()
            thread.join()

    async def _listen(self, url: str, ready: threading.Event, stop: threading.Event) -> None:
        async with (
            aiohttp.ClientSession(url) as session,
            session.ws_connect("/ws?clientId=me", max_msg_size=0) as socket,
        ):
            ready.set()
            while not stop.is_set():
                with suppress(TimeoutError):
                    frame = await socket.receive(timeout=0.2)
                    if frame.type == aiohttp.WSMsgType.TEXT:
                        told = json.loads(frame.data)
                        self.events.append((told["type"], str(told["data"].get("prompt_id", ""))))


@dataclass
class Storm:
    """Submits prompts, and does harm to them by chance."""

    url: str
    chance: random.Random
    session: requests.Session = field(default_factory=requests.Session)
    ids: list[str] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    kills: int = 0

    def worker(self) -> dict[str, object]:
        """The worker as /health shows it."""
        return self.session.get(f"{self.url}/health").json()["workers"][0]

    def rage(self, kills: int) -> None:
        """Keep some prompts waiting, and kill the worker so often, each time while it works."""
        deadline = time.monotonic() + PATIENCE_S + 10 * kills
        while self.kills < kills:
            assert time.monotonic() < deadline
            if self.left() < WAITING:
                self.submit()
            elif self.worker()["state"] == "busy":
                self.harm()
            else:
                time.sleep(0.02)
        while self.left():
            assert time.monotonic() < deadline + PATIENCE_S
            time.sleep(0.05)

    def left(self) -> int:
        """How many prompts wait or run."""
        return self.session.get(f"{self.url}/prompt").json()["exec_info"]["queue_remaining"]

    def submit(self) -> None:
        """Grain over a picture, which takes as long to draw as to write."""
        side, count = self.chance.choice([64, 400, 700, 1000]), self.chance.choice([1, 1, 2, 3])
        size = {"width": side, "height": side, "batch_size": count, "color": len(self.ids)}
        grain = {"image": ["1", 0], "seed": len(self.ids), "strength": 0.3}
        prompt = {
            "1": {"class_type": "EmptyImage", "inputs": size},
            "2": {"class_type": "ImageAddNoise", "inputs": grain},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "s"}},
        }
        body = {"prompt": prompt, "client_id": "me"}
        self.ids.append(self.session.post(f"{self.url}/prompt", json=body).json()["prompt_id"])

    def harm(self) -> None:
        """Delete what comes next, interrupt what runs, or kill the worker, after a while."""
        time.sleep(self.chance.random() * 0.4)
        what = self.chance.choice(["delete", "interrupt", "kill", "both", "kill", "kill"])
        if what in ("delete", "both"):
            for item in self.session.get(f"{self.url}/queue").json()["queue_pending"][:1]:
                self.deleted.add(item[1])
                self.session.post(f"{self.url}/queue", json={"delete": [item[1]]})
        if what in ("interrupt", "both"):
            self.session.post(f"{self.url}/interrupt")
        if what in ("kill", "both") and (pid := self.worker()["pid"]):
            with suppress(psutil.NoSuchProcess):
                psutil.Process(int(str(pid))).kill()
                self.kills += 1


def pictures(entry: dict[str, dict[str, dict[str, list[dict[str, str]]]]]) -> list[str]:
    """The pictures that a history entry names."""
    return [file["filename"] for node in entry["outputs"].values() for file in node.get("images", [])]


def check(storm: Storm, heard: Heard, output: Path) -> None:
    """No prompt lost, none told twice, no file that nothing names."""
    history = storm.session.get(f"{storm.url}/history").json()
    assert set(storm.ids) - set(history) <= storm.deleted
    ends = Counter(prompt_id for event, prompt_id in heard.events if event in ENDS)
    assert (set(ends), set(ends.values())) == (set(history), {1})
    told = Counter(name for entry in history.values() for name in pictures(entry))
    files = {path.name for path in output.glob("s_*.png")}
    assert (set(told) - files, [name for name, count in told.items() if count > 1]) == (set(), [])
    twice_lost = {prompt_id for prompt_id, entry in history.items() if is_failed(entry)}
    assert {owner(output / name, storm.ids) for name in files - set(told)} <= twice_lost
    assert not list(output.glob(".*.part*"))


def is_failed(entry: dict[str, dict[str, list[list[object]]]]) -> bool:
    """Whether a prompt lost its second worker too: of its files those stay that were whole."""
    return entry["status"]["messages"][-1][0] == "execution_error"


def owner(path: Path, ids: list[str]) -> str:
    """The prompt that wrote a picture, by its colour."""
    with Image.open(path) as picture:
        return ids[json.loads(picture.text["prompt"])["1"]["inputs"]["color"]]  # type: ignore[attr-defined]


def storm_over(base: Path, seed: int, kills: int) -> Storm:
    """Run one, and check what it left."""
    with ExitStack() as stack:
        url = stack.enter_context(serving(base, "--cpu"))
        storm, heard = Storm(url, random.Random(seed)), Heard()
        stack.enter_context(storm.session)
        with heard.listening(url):
            storm.rage(kills)
            time.sleep(0.5)  # the last words are on their way
        check(storm, heard, base / "output")
    return storm


@pytest.mark.full
@pytest.mark.parametrize("seed", range(3))
def test_a_storm_leaves_nothing_behind(tmp_path: Path, seed: int):
    assert storm_over(tmp_path, seed, kills=10).kills == 10
