"""Thousands of small prompts on one server: does the memory of the front or of the worker grow?

python -m benchmarks.soak [--prompts N] [--every N]: prompts of all kinds (new, repeated, failing, refused) go to a
real server, clients come and go. Resident memory is sampled; the slope is the least-squares line through the samples
after the first 500 prompts, in bytes per prompt. The status is 1 if a slope is above the limit. What grows on purpose
is kept small: the history is limited to fewer entries than the warm-up makes, and few prompts save a file (the name of
the next file is found by listing the folder).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from tests.serving import serving

WARM_UP = 500
LIMIT = 1024.0
"""Bytes per prompt that count as flat: 5 MiB in 5,000 prompts."""
HISTORY = ("--history-limit", "400")
AT_ONCE = 8
"""Prompts that wait or run at a time."""
STAY = 100
"""Prompts until the client is replaced by a new one."""

Say = Callable[[str], object]


@dataclass(slots=True)
class Samples:
    """Resident bytes of one process by the number of prompts that had ended."""

    prompts: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)

    def slope(self, after: int) -> float:
        """Bytes per prompt of the line through the samples from `after` prompts on; nan with less than two."""
        points = [(count, size) for count, size in zip(self.prompts, self.resident, strict=True) if count >= after]
        if len(points) < 2:
            return float("nan")
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        spread = sum((x - mean_x) ** 2 for x, _ in points)
        return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def graph(number: int) -> dict[str, object]:
    """Prompt `number`: most are new, some the last one again, some fail in a node, some are refused."""
    kind = number % 10
    salt = number - 1 if kind == 5 else number
    size = -1 if kind == 7 else 8
    prompt: dict[str, object] = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": size, "height": 8, "batch_size": 1, "color": salt}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }
    if number % 50 == 0:
        prompt["4"] = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
    if kind == 3:  # a picture where only a link makes sense: accepted, and fails
        prompt["2"] = {"class_type": "ImageInvert", "inputs": {"image": "none"}}
    return prompt


class Load:
    """Submits prompts on one client after another and waits for their ends."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.ended = 0

    async def run(self, first: int, count: int) -> None:
        """Prompts `first` to `first + count` on a client of their own."""
        client = f"soak-{first}"
        async with self._session.ws_connect(f"/ws?clientId={client}", max_msg_size=0) as socket:
            waiting: set[str] = set()
            for number in range(first, first + count):
                prompt_id = await self._submit(number, client)
                if prompt_id is not None:
                    waiting.add(prompt_id)
                while len(waiting) >= AT_ONCE:
                    waiting.discard(await self._next_end(socket))
            while waiting:
                waiting.discard(await self._next_end(socket))
        self.ended += count

    async def _submit(self, number: int, client: str) -> str | None:
        async with self._session.post("/prompt", json={"prompt": graph(number), "client_id": client}) as answer:
            told = await answer.json()
        prompt_id = told.get("prompt_id")
        return prompt_id if isinstance(prompt_id, str) else None

    async def _next_end(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        async for message in socket:
            if message.type == aiohttp.WSMsgType.TEXT and '"executing"' in message.data[:40]:
                data = json.loads(message.data)["data"]
                if data["node"] is None:
                    return str(data["prompt_id"])
        raise RuntimeError("the server closed the websocket")


async def soak(
    url: str, processes: dict[str, psutil.Process], prompts: int, every: int, say: Say
) -> dict[str, Samples]:
    """Run the prompts and sample the processes after every `every` of them."""
    samples = {name: Samples() for name in processes}
    start = time.perf_counter()
    async with aiohttp.ClientSession(url) as session:
        load = Load(session)
        while load.ended < prompts:
            await load.run(load.ended, min(STAY, prompts - load.ended))
            if load.ended % every and load.ended < prompts:
                continue
            for name, process in processes.items():
                samples[name].prompts.append(load.ended)
                samples[name].resident.append(process.memory_info().rss)
            sizes = ", ".join(f"{name} {item.resident[-1] / 2**20:.1f} MiB" for name, item in samples.items())
            say(f"{load.ended:6} prompts, {load.ended / (time.perf_counter() - start):5.0f}/s: {sizes}\n")
    return samples


def processes_of(base: Path) -> dict[str, psutil.Process]:
    """Front and worker of the server that serves `base`."""
    for child in psutil.Process().children():
        if str(base) in child.cmdline():
            (worker,) = [below for below in child.children() if "executor.worker" in below.cmdline()]
            return {"front": child, "worker": worker}
    raise LookupError(f"no server with the folder {base} runs below this process")


def run(prompts: int, every: int, say: Say) -> dict[str, Samples]:
    """A server of its own, soaked."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), *HISTORY) as url:
        return asyncio.run(_soak_once_ready(url, Path(folder), prompts, every, say))


async def _soak_once_ready(url: str, base: Path, prompts: int, every: int, say: Say) -> dict[str, Samples]:
    async with aiohttp.ClientSession(url) as session, session.get("/object_info/ImageInvert") as answer:
        answer.raise_for_status()  # waits for the worker
    return await soak(url, processes_of(base), prompts, every, say)


def main(argv: Sequence[str] | None = None) -> int:
    """Soak and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=5000)
    parser.add_argument("--every", type=int, default=100, help="prompts between samples")
    given = parser.parse_args(argv)
    found = run(given.prompts, given.every, sys.stdout.write)
    good = True
    for name, samples in found.items():
        slope = samples.slope(WARM_UP)
        good &= not slope > LIMIT
        sys.stdout.write(f"{name}: {slope:.0f} bytes per prompt after the first {WARM_UP} (allowed {LIMIT:.0f})\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
