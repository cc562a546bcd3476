"""GET routes that clients poll, beside a bare aiohttp handler that returns the same bytes.

Both are asked in turn, one request at a time on kept connections, so that a drifting machine hits both alike; the
figures are medians in milliseconds.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import aiohttp

from benchmarks.bare import bare
from benchmarks.figures import Figure, median
from tests.serving import serving

CALLED = {
    "/queue": "/queue",
    "/prompt": "/prompt",
    "/system_stats": "/system_stats",
    "/object_info": "/object_info",
    "/history?max_items=20": "/history, 20 newest",
    "/models/checkpoints": "/models/checkpoints",
    "/api/jobs?status=in_progress,pending&limit=200&offset=0": "/api/jobs, waiting",
    "/api/jobs?status=completed,failed,cancelled&limit=64&offset=0": "/api/jobs, 64 ended",
}
"""What is asked for, and how it is called in the table."""
PATHS = tuple(CALLED)
REQUESTS = 400
MOST_RATIO = 1.5
NAME = {path: f"GET {called} p50" for path, called in CALLED.items()}


def figures() -> list[Figure]:
    """Every route on a fresh server with some history."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as url:
        return asyncio.run(measure(url))


async def measure(url: str, requests: int = REQUESTS) -> list[Figure]:
    """Every route of the server at `url`."""
    async with aiohttp.ClientSession(url) as session:
        await fill(session)
        bodies = [await (await session.get(path)).read() for path in PATHS]
        with bare(bodies) as (floor_url, _):
            async with aiohttp.ClientSession(floor_url) as floor:
                rows = [await compared(session, floor, number, requests) for number in range(len(PATHS))]
    return [
        Figure(name=NAME[path], value=ours, unit="ms", floor=least, floor_name="bare handler", most_ratio=MOST_RATIO)
        for path, (ours, least) in zip(PATHS, rows, strict=True)
    ]


async def compared(
    session: aiohttp.ClientSession, floor: aiohttp.ClientSession, number: int, requests: int
) -> tuple[float, float]:
    """The medians of one route and of its floor."""
    ours, least = [], []
    for turn in range(requests + requests // 10):
        one, other = await timed(session, PATHS[number]), await timed(floor, f"/{number}")
        if turn >= requests // 10:  # the first ones warm both up
            ours.append(one)
            least.append(other)
    return median(ours), median(least)


async def timed(session: aiohttp.ClientSession, path: str) -> float:
    """Milliseconds until the body of a route is read."""
    start = time.perf_counter()
    async with session.get(path) as answer:
        await answer.read()
    return (time.perf_counter() - start) * 1000


async def fill(session: aiohttp.ClientSession, count: int = 80) -> None:
    """Run some prompts as a front end would, so that there is a history to show."""
    for number in range(count):
        graph = {
            "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": number}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }
        workflow = {"id": "w", "nodes": [{"id": n, "pos": [0, 0]} for n in range(50)]}
        body = {"prompt": graph, "extra_data": {"extra_pnginfo": {"workflow": workflow}}}
        await (await session.post("/prompt", json=body)).read()
    while (await (await session.get("/prompt")).json())["exec_info"]["queue_remaining"]:
        await asyncio.sleep(0.05)
