"""Several workers on one machine: prompts per second of N workers beside N times those of one.

A prompt that is light on the processor waits LONG_S, as for a GPU, and tells its progress meanwhile. One that burns
takes LONG_S of processor time, whatever else runs, so that contention shows: front and client share the processors with
the workers, and where there are no more of them than workers, they cost their part.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from benchmarks.figures import Figure, median
from tests.serving import serving

LONG_S = 0.05
PROMPTS = 60
AT_ONCE = 16
ROUNDS = 5
PATIENCE_S = 60.0
Node = dict[str, object]
UP = re.compile(rb'^weft_worker_up\{worker="[^"]*"\} 1\.0$', re.MULTILINE)


def figures() -> list[Figure]:
    """The rate of `count` workers, and of one."""
    many_workers = count()
    salts = itertools.count()
    found = []
    with running(1) as single, running(many_workers) as many:
        for way, nodes, least in (("wait", waiting, 0.95), ("burn", burning, 0.85)):
            one, several = [], []
            for _ in range(ROUNDS):
                one.append(asyncio.run(rate(single, 1, map(nodes, salts))))
                several.append(asyncio.run(rate(many, many_workers, map(nodes, salts))))
            floor = f"{many_workers} x those of one worker"
            name = f"prompts that {way} {LONG_S * 1000:g} ms, {many_workers} workers"
            found.append(
                Figure(name=name, value=median(several), unit="/s", floor=median(one) * many_workers,
                       floor_name=floor, least_ratio=least)
            )  # fmt: skip
    return found


def count() -> int:
    """As many workers as this process may use processors, two at least and eight at most."""
    return min(8, max(2, len(os.sched_getaffinity(0))))


def waiting(salt: int) -> Node:
    """A node that leaves the processor alone; each is another."""
    return {"class_type": "Sleep", "inputs": {"seconds": LONG_S + salt * 1e-9}}


def burning(salt: int) -> Node:
    """A node that needs a processor all the time; each is another."""
    return {"class_type": "Burn", "inputs": {"seconds": LONG_S, "salt": salt}}


@contextmanager
def running(workers: int) -> Iterator[str]:
    """The address of a fresh server of which so many workers can run prompts; one that is asked nothing costs nothing.

    Raises TimeoutError where they do not start.
    """
    flags = ("--workers", str(workers))
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), *flags, module="tests.fake_server") as url:
        deadline = time.monotonic() + PATIENCE_S
        while len(UP.findall(urllib.request.urlopen(f"{url}/metrics", timeout=10).read())) < workers:
            if time.monotonic() > deadline:
                raise TimeoutError("the workers do not start")
            time.sleep(0.05)
        yield url


async def rate(url: str, workers: int, nodes: Iterator[Node]) -> float:
    """Prompts per second from AT_ONCE submitters, after a warm-up of each worker."""
    async with aiohttp.ClientSession(url) as session, session.ws_connect("/ws?clientId=measure") as socket:
        await finish(session, socket, 4 * workers, nodes)
        start = time.perf_counter()
        await finish(session, socket, PROMPTS, nodes)
        return PROMPTS / (time.perf_counter() - start)


async def finish(
    session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, count: int, nodes: Iterator[Node]
) -> None:
    """Submit so many prompts and wait for their ends."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def submit() -> None:
        graph = {"1": next(nodes)}
        async with gate:
            await (await session.post("/prompt", json={"prompt": graph, "client_id": "measure"})).read()

    submitting = asyncio.gather(*(submit() for _ in range(count)))
    left = count
    while left:
        told = await socket.receive_json(timeout=PATIENCE_S)
        left -= told["type"] == "executing" and told["data"]["node"] is None
    await submitting
