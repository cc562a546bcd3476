"""What others cost: websocket clients that listen, that never read, that read a byte a second; a node that holds the
interpreter lock of its worker.

Each rate and each time is measured with and without the others on the same server, in turn; the floor is the one
without.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from benchmarks.figures import Figure, median, percentile
from tests.serving import serving
from tests.unit.server.raw_socket import RawSocket

LISTENERS = 100
PROMPTS = 60
ROUNDS = 5
HELD_ROUNDS = 3
HELD_S = 3.0
PATIENCE_S = 60.0

Crowd = Callable[[str], AbstractAsyncContextManager[None]]


def figures() -> list[Figure]:
    """All of them, on one server with the tests' own nodes."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), module="tests.fake_server") as url:
        deadline = time.monotonic() + PATIENCE_S
        while b"idle" not in urllib.request.urlopen(f"{url}/health", timeout=10).read():
            if time.monotonic() > deadline:
                raise TimeoutError("the worker does not start")
            time.sleep(0.05)
        listened, alone = asyncio.run(rates(url, listeners, "measure"))
        slowed, undisturbed = asyncio.run(rates(url, slow_clients, None))
        held_ms, idle_ms = asyncio.run(while_held(url, Path(folder)))
    return [
        Figure(name=f"prompts, {LISTENERS} listeners", value=listened, unit="/s", floor=alone,
               floor_name="without listeners", least_ratio=0.8),
        Figure(name="prompts, deaf and slow clients", value=slowed, unit="/s", floor=undisturbed,
               floor_name="without them", least_ratio=0.9),
        Figure(name="GET /queue p99, lock held", value=held_ms, unit="ms", floor=idle_ms,
               floor_name="p99 while idle", most_ratio=2.0),
    ]  # fmt: skip


# ---------------------------------------------------------------- clients


@asynccontextmanager
async def listeners(url: str) -> AsyncIterator[None]:
    """Clients that read all they get."""
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:
        sockets = [await session.ws_connect("/ws") for _ in range(LISTENERS)]
        reading = [asyncio.create_task(drain(socket)) for socket in sockets]
        yield
        await asyncio.gather(*(socket.close() for socket in sockets), *reading)


async def drain(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Read until the end."""
    async for _ in socket:
        pass


@asynccontextmanager
async def slow_clients(url: str) -> AsyncIterator[None]:
    """One that never reads, one that reads a byte a second; prompts without owner tell both of every step."""
    port = urlsplit(url).port
    assert port is not None
    deaf, slow = await RawSocket.connect(port, "deaf"), await RawSocket.connect(port, "slow")

    async def trickle() -> None:
        while True:
            await slow.read(1)
            await asyncio.sleep(1)

    reading = asyncio.create_task(trickle())
    yield
    reading.cancel()
    deaf.vanish()
    slow.vanish()


async def rates(url: str, crowd: Crowd, owner: str | None) -> tuple[float, float]:
    """Prompts per second with and without a crowd, medians of rounds in turn; without an owner all hear every step."""
    with_it, without = [], []
    async with aiohttp.ClientSession(url) as session:
        await rate(session, owner)
        for _ in range(ROUNDS):
            without.append(await rate(session, owner))
            async with crowd(url):
                with_it.append(await rate(session, owner))
    return median(with_it), median(without)


async def rate(session: aiohttp.ClientSession, owner: str | None) -> float:
    """Prompts per second, submitted one after another; a client follows them to the end."""
    async with session.ws_connect("/ws?clientId=measure") as socket:
        start = time.perf_counter()
        for number in range(PROMPTS):
            graph = say(number) if owner else step(number)
            body = {"prompt": graph, **({"client_id": owner} if owner else {})}
            await (await session.post("/prompt", json=body)).read()
        async for message in socket:
            told = json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else {}
            left = told["data"]["status"]["exec_info"]["queue_remaining"] if told.get("type") == "status" else None
            if left == 0 and await is_done(session):
                break
        return PROMPTS / (time.perf_counter() - start)


def say(number: int) -> dict[str, object]:
    """A graph that does next to nothing, and never the same twice."""
    return {"1": {"class_type": "Say", "inputs": {"text": f"{number} {time.time()}"}}}


def step(number: int) -> dict[str, object]:
    """A graph that works for 10 ms and tells of its step."""
    return {"1": {"class_type": "Sleep", "inputs": {"seconds": (number + time.time() % 1) * 1e-9}}}


async def is_done(session: aiohttp.ClientSession) -> bool:
    """Whether nothing waits or runs."""
    async with session.get("/prompt") as answer:
        return bool((await answer.json())["exec_info"]["queue_remaining"] == 0)


# ---------------------------------------------------------------- a node that holds the interpreter


async def while_held(url: str, folder: Path) -> tuple[float, float]:
    """The 99th percentile of GET /queue in milliseconds while a node holds its interpreter, and while idle.

    Medians of rounds: a percentile of one hangs on its five slowest answers, and so on what else the machine did.
    """
    held, idle = [], []
    async with aiohttp.ClientSession(url) as session:
        for number in range(HELD_ROUNDS):
            free = await polled(session, HELD_S / 2)
            held.append(percentile(await held_once(session, folder / f"held{number}"), 0.99))
            idle.append(percentile(free + await polled(session, HELD_S / 2), 0.99))
    return median(held), median(idle)


async def held_once(session: aiohttp.ClientSession, mark: Path) -> list[float]:
    """Milliseconds of GET /queue while a node, which makes the file `mark`, holds its interpreter."""
    graph = {"1": {"class_type": "HoldInterpreter", "inputs": {"seconds": HELD_S, "mark": str(mark)}}}
    await (await session.post("/prompt", json={"prompt": graph})).read()
    while not mark.exists():
        await asyncio.sleep(0.005)
    held = await polled(session, HELD_S * 0.8)
    while not await is_done(session):
        await asyncio.sleep(0.02)
    return held


async def polled(session: aiohttp.ClientSession, seconds: float) -> list[float]:
    """Milliseconds of GET /queue, asked every few milliseconds for some seconds."""
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        async with session.get("/queue") as answer:
            await answer.read()
        times.append((time.perf_counter() - start) * 1000)
        await asyncio.sleep(0.005)
    return times
