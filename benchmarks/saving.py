"""Pictures saved beside the next prompt's work: prompts that cost as much to compute as their pictures to write.

Each prompt draws grain over a picture on one thread, so that a second processor is free, and saves it as PNG. Grain
does not compress, as little of a photograph does. They are queued together, and sent one after another; the floor of
both is what the prompts take that only draw, or only save a picture that the node cache has, whichever is more.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from benchmarks.figures import Figure
from tests.serving import serving

SIDES = (1024, 2048)
PROMPTS = 8
ROUNDS = 3
PATIENCE_S = 60.0
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
Graph = dict[str, dict[str, object]]


def figures(sides: Iterable[int] = SIDES, prompts: int = PROMPTS, rounds: int = ROUNDS) -> list[Figure]:
    """Milliseconds per prompt, on one server."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as url:
        return [figure for side in sides for figure in asyncio.run(_of(url, side, prompts, rounds))]


async def _of(url: str, side: int, prompts: int, rounds: int) -> list[Figure]:
    salts = itertools.count()
    ways = {name: list[float]() for name in ("draw", "save", "queued", "apart")}
    async with aiohttp.ClientSession(url) as session, session.ws_connect("/ws?clientId=measure") as socket:

        async def per_prompt_ms(make: Callable[[int, int], Graph], at_once: int) -> float:
            graphs = [make(side, next(salts)) for _ in range(prompts)]
            start = time.perf_counter()
            for first in range(0, prompts, at_once):
                await ended(session, socket, graphs[first : first + at_once])
            return (time.perf_counter() - start) * 1000 / prompts

        await ended(session, socket, [drawn_and_saved(side, next(salts)), saved(side, next(salts))])
        for _ in range(rounds):
            ways["draw"].append(await per_prompt_ms(drawn, prompts))
            ways["save"].append(await per_prompt_ms(saved, prompts))
            ways["queued"].append(await per_prompt_ms(drawn_and_saved, prompts))
            ways["apart"].append(await per_prompt_ms(drawn_and_saved, 1))
    floor = max(min(ways["draw"]), min(ways["save"]))
    name = "the larger of drawing and saving alone"
    return [
        Figure(name=f"draw and save {side}², queued", value=min(ways["queued"]), unit="ms", floor=floor,
               floor_name=name, most_ratio=1.5),
        Figure(name=f"draw and save {side}², one after another", value=min(ways["apart"]), unit="ms", floor=floor,
               floor_name=name),
    ]  # fmt: skip


def drawn(side: int, salt: int) -> Graph:
    """Draws a picture that nobody saves."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": side, "height": side, "batch_size": 1, "color": 8421504}},
        "2": {"class_type": "ImageAddNoise", "inputs": {"image": ["1", 0], "seed": salt, "strength": 0.4}},
        "3": {"class_type": "GetImageSize", "inputs": {"image": ["2", 0]}},
        "4": {"class_type": "PreviewAny", "inputs": {"source": ["3", 0]}},
    }


def drawn_and_saved(side: int, salt: int) -> Graph:
    """Draws a picture and saves it."""
    graph = drawn(side, salt)
    save = {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "speed"}}
    return {"1": graph["1"], "2": graph["2"], "5": save}


def saved(side: int, salt: int) -> Graph:
    """Saves a picture that is there already, under another name each time."""
    graph = drawn_and_saved(side, -1 % 2**32)
    graph["5"]["inputs"] = {"images": ["2", 0], "filename_prefix": f"speed{salt}"}
    return graph


async def ended(session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, graphs: list[Graph]) -> None:
    """Submit prompts and wait for their ends."""
    for graph in graphs:
        await (await session.post("/prompt", json={"prompt": graph, "client_id": "measure"})).read()
    left = len(graphs)
    while left:
        told = await socket.receive(timeout=PATIENCE_S)
        if told.type == aiohttp.WSMsgType.TEXT:
            event = told.json()
            left -= event["type"] == "executing" and event["data"]["node"] is None


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The address of a fresh server whose worker computes on one thread; TimeoutError where it does not start."""
    before = dict(os.environ)
    os.environ.update(ONE_THREAD)
    try:
        with serving(folder, "--cpu") as url:
            deadline = time.monotonic() + PATIENCE_S
            while b"idle" not in urllib.request.urlopen(f"{url}/health", timeout=10).read():
                if time.monotonic() > deadline:
                    raise TimeoutError("the worker does not start")
                time.sleep(0.05)
            yield url
    finally:
        os.environ.clear()
        os.environ.update(before)
