"""Latency of the polled GET routes beside a bare aiohttp handler that returns the same bytes. A program, not a test.

python -m tests.performance.latency [--requests N]: starts a server on an empty folder, fills its history, then asks
both in turn on kept connections and prints the medians. A route should take at most 1.5 times the bare handler's time.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.serving import serving

PATHS = (
    "/queue",
    "/prompt",
    "/system_stats",
    "/object_info",
    "/history?max_items=20",
    "/models/checkpoints",
    "/api/jobs?limit=64",
)
ALLOWED = 1.5


async def fill(session: aiohttp.ClientSession, count: int = 25) -> None:
    """Run some prompts, so that there is a history to show."""
    for number in range(count):
        graph = {
            "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": number}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }
        extra = {"extra_pnginfo": {"workflow": {"id": "w", "nodes": [{"id": n, "pos": [0, 0]} for n in range(50)]}}}
        await (await session.post("/prompt", json={"prompt": graph, "extra_data": extra})).read()
    while (await (await session.get("/prompt")).json())["exec_info"]["queue_remaining"]:
        await asyncio.sleep(0.1)


async def bare(bodies: dict[str, bytes], port: asyncio.Queue[int]) -> None:
    """Serve fixed bodies by index."""
    app = web.Application()
    for number, body in enumerate(bodies.values()):

        async def answer(request: web.Request, body: bytes = body) -> web.Response:
            return web.Response(body=body, content_type="application/json")

        app.router.add_get(f"/{number}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port.put_nowait(runner.addresses[0][1])
    await asyncio.Event().wait()


async def timed(session: aiohttp.ClientSession, path: str) -> float:
    """Milliseconds until the body of a route is read."""
    start = time.perf_counter()
    async with session.get(path) as answer:
        await answer.read()
    return (time.perf_counter() - start) * 1000


async def measure(url: str, count: int) -> bool:
    """Print the table; tells whether every route is within what is allowed."""
    good = True
    async with aiohttp.ClientSession(url) as session:
        await fill(session)
        bodies = {path: await (await session.get(path)).read() for path in PATHS}
        floor = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.performance.latency", "--bare", stdin=-1, stdout=-1
        )
        floor.stdin.write(len(bodies).to_bytes(4) + b"".join(len(b).to_bytes(4) + b for b in bodies.values()))
        port = int(await floor.stdout.readline())
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as floor_session:
            for number, path in enumerate(PATHS):
                rows = [(await timed(session, path), await timed(floor_session, f"/{number}")) for _ in range(count)]
                ours, floors = (statistics.median(times) for times in zip(*rows, strict=True))
                good &= ours <= ALLOWED * floors
                least, least_floor = (statistics.quantiles(times, n=20)[0] for times in zip(*rows, strict=True))
                sys.stdout.write(
                    f"{path:22} {ours:7.3f} ms, bare {floors:7.3f} ms: {ours / floors:.2f}x; "
                    f"fastest 5% {least:.3f}, bare {least_floor:.3f}: {least / least_floor:.2f}x\n"
                )
        floor.terminate()
        await floor.wait()
    return good


async def serve_bare() -> None:
    """The other process: reads the bodies from stdin, prints its port."""
    stream = sys.stdin.buffer
    count = int.from_bytes(stream.read(4))
    bodies = {str(number): stream.read(int.from_bytes(stream.read(4))) for number in range(count)}
    port: asyncio.Queue[int] = asyncio.Queue()
    serving_task = asyncio.create_task(bare(bodies, port))
    sys.stdout.write(f"{await port.get()}\n")
    sys.stdout.flush()
    await serving_task


def main() -> int:
    """Measure; the status is 1 if a route takes too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        asyncio.run(serve_bare())
        return 0
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as url:
        return 0 if asyncio.run(measure(url, given.requests)) else 1


if __name__ == "__main__":
    sys.exit(main())
