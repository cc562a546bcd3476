#!/usr/bin/env python3
"""Benchmark a running ComfyUI-compatible server over HTTP and WebSocket.

Needs only the standard library and aiohttp; the workflows need no model files, so any compatible server can be
measured, and two servers can be compared in one call (measured in turn, so that a drifting machine hits both alike):

    python bench_server.py --url http://127.0.0.1:8188
    python bench_server.py --url http://127.0.0.1:8188 --vs http://127.0.0.1:8189 --json result.json

Every figure is the median over --rounds rounds; with --vs the last column is OTHER / THIS for times and THIS / OTHER
for rates, so above 1 always means that --url is the better one. The load is bounded: it ends by itself.
"""

import argparse
import asyncio
import json
import statistics
import time
import uuid

import aiohttp

LOWER, HIGHER = "lower", "higher"  # which direction is better


class Server:
    """One server under test: a session, a websocket, and the helpers that the measurements share."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.client_id = uuid.uuid4().hex
        self.salt = int(time.time() * 1000) % 10_000_000  # makes graphs unique across runs

    async def __aenter__(self):
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self.ws = await self.http.ws_connect(f"{self.url}/ws?clientId={self.client_id}", max_msg_size=0)
        return self

    async def __aexit__(self, *exc):
        await self.ws.close()
        await self.http.close()

    async def get(self, path: str) -> bytes:
        async with self.http.get(self.url + path) as r:
            body = await r.read()
            r.raise_for_status()
            return body

    async def submit(self, graph: dict) -> str:
        body = {"prompt": graph, "client_id": self.client_id}
        async with self.http.post(self.url + "/prompt", json=body) as r:
            answer = await r.json()
            if r.status != 200:
                raise RuntimeError(f"{self.url} refused a prompt: {json.dumps(answer)[:400]}")
            return answer["prompt_id"]

    async def wait(self, ids: set[str], timeout: float = 300) -> None:
        """Return when every prompt in ids has ended, by its websocket messages."""
        left = set(ids)
        async with asyncio.timeout(timeout):
            while left:
                message = await self.ws.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                        raise RuntimeError("the server closed the websocket")
                    continue
                event = json.loads(message.data)
                data = event.get("data") or {}
                if event["type"] in ("execution_error", "execution_interrupted"):
                    raise RuntimeError(f"a prompt failed: {json.dumps(data)[:400]}")
                ended = event["type"] == "executing" and data.get("node", "") is None
                if ended:
                    left.discard(data.get("prompt_id"))

    def fresh(self, size: int = 64) -> dict:
        """A three-node graph that no cache has seen."""
        self.salt += 1
        color = self.salt % 0xFFFFFF
        return {
            "1": {
                "class_type": "EmptyImage",
                "inputs": {"width": size, "height": size, "batch_size": 1, "color": color},
            },
            "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
            "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
        }

    def chain(self, length: int) -> dict:
        graph = self.fresh(8)
        last = "2"
        for i in range(length):
            name = f"c{i}"
            graph[name] = {"class_type": "ImageInvert", "inputs": {"image": [last, 0]}}
            last = name
        graph["3"]["inputs"]["images"] = [last, 0]
        return graph

    def heavy(self, times: int) -> dict:
        """A graph that keeps the executor busy for some seconds on a CPU: repeated large resizes."""
        graph = self.fresh(1024)
        last = "2"
        for i in range(times):
            name = f"h{i}"
            edge = 2048 + 8 * (i % 2)
            inputs = {
                "image": [last, 0],
                "upscale_method": "bicubic",
                "width": edge,
                "height": edge,
                "crop": "disabled",
            }
            graph[name] = {"class_type": "ImageScale", "inputs": inputs}
            last = name
        graph["9"] = {
            "class_type": "ImageScale",
            "inputs": {"image": [last, 0], "upscale_method": "area", "width": 64, "height": 64, "crop": "disabled"},
        }
        graph["3"]["inputs"]["images"] = ["9", 0]
        return graph


def percentile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


async def routes(s: Server, n: int = 60) -> dict:
    """Sequential latency of the routes that clients poll, in milliseconds."""
    figures = {}
    for path in (
        "/system_stats",
        "/queue",
        "/prompt",
        "/history?max_items=20",
        "/models/checkpoints",
        "/object_info/KSampler",
        "/object_info",
    ):
        count = max(5, n // 10) if path == "/object_info" else n
        await s.get(path)
        times = []
        for _ in range(count):
            start = time.perf_counter()
            await s.get(path)
            times.append((time.perf_counter() - start) * 1000)
        figures[f"GET {path} p50 ms"] = (statistics.median(times), LOWER)
    return figures


async def latency(s: Server, n: int = 40) -> dict:
    """One prompt at a time, from POST /prompt to its last event, in milliseconds."""
    figures = {}
    repeated = s.fresh()
    for name, make in (("fresh", s.fresh), ("fully cached", lambda: repeated)):
        times = []
        await s.wait({await s.submit(make())})
        for _ in range(n):
            start = time.perf_counter()
            await s.wait({await s.submit(make())})
            times.append((time.perf_counter() - start) * 1000)
        figures[f"prompt {name} p50 ms"] = (statistics.median(times), LOWER)
        figures[f"prompt {name} p95 ms"] = (percentile(times, 0.95), LOWER)
    return figures


async def throughput(s: Server, n: int = 200, at_once: int = 16) -> dict:
    """n fresh prompts from at_once concurrent submitters: accepted per second, and executed per second."""
    graphs = [s.fresh() for _ in range(n)]
    gate = asyncio.Semaphore(at_once)

    async def one(graph):
        async with gate:
            return await s.submit(graph)

    start = time.perf_counter()
    submitting = asyncio.gather(*(one(g) for g in graphs))
    ids = set(await submitting)
    accepted = time.perf_counter() - start
    await s.wait(ids)
    return {
        "prompts accepted /s": (n / accepted, HIGHER),
        "prompts executed /s": (n / (time.perf_counter() - start), HIGHER),
    }


async def large_graph(s: Server, length: int = 500) -> dict:
    """A chain of 500 nodes, fresh and then fully cached."""
    graph = s.chain(length)
    start = time.perf_counter()
    await s.wait({await s.submit(graph)})
    fresh = time.perf_counter() - start
    start = time.perf_counter()
    await s.wait({await s.submit(graph)})
    cached = time.perf_counter() - start
    return {
        f"{length}-node chain fresh ms": (fresh * 1000, LOWER),
        f"{length}-node chain cached ms": (cached * 1000, LOWER),
    }


async def under_load(s: Server, times: int = 30) -> dict:
    """How the API answers while the executor is busy: GET /queue and a websocket ping, p50 and p99 in milliseconds."""
    done = asyncio.create_task(s.wait({await s.submit(s.heavy(times))}))
    waits, started = [], time.perf_counter()
    while not done.done() and time.perf_counter() - started < 60:
        start = time.perf_counter()
        await s.get("/queue")
        waits.append((time.perf_counter() - start) * 1000)
        await asyncio.sleep(0.01)
    await done
    return {
        "GET /queue while busy p50 ms": (statistics.median(waits), LOWER),
        "GET /queue while busy p99 ms": (percentile(waits, 0.99), LOWER),
    }


async def fan_out(s: Server, clients: int = 100, prompts: int = 30) -> dict:
    """Prompts per second while many other clients listen on their own websockets."""
    listeners = [await s.http.ws_connect(f"{s.url}/ws?clientId={uuid.uuid4().hex}") for _ in range(clients)]

    async def drain(ws):
        async for _ in ws:
            pass

    drains = [asyncio.create_task(drain(ws)) for ws in listeners]
    start = time.perf_counter()
    await s.wait({await s.submit(s.fresh()) for _ in range(prompts)})
    rate = prompts / (time.perf_counter() - start)
    for ws in listeners:
        await ws.close()
    await asyncio.gather(*drains, return_exceptions=True)
    return {f"prompts /s, {clients} listeners": (rate, HIGHER)}


MEASUREMENTS = {f.__name__: f for f in (routes, latency, throughput, large_graph, under_load, fan_out)}


async def measure(url: str, names: list[str]) -> dict:
    figures = {}
    async with Server(url) as server:
        for name in names:
            figures.update(await MEASUREMENTS[name](server))
    return figures


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="the server under test")
    parser.add_argument("--vs", help="another server, measured in turn with the first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(MEASUREMENTS), default=list(MEASUREMENTS))
    parser.add_argument("--json", help="also write the figures to this file")
    args = parser.parse_args()

    urls = [args.url] + ([args.vs] if args.vs else [])
    samples: dict[str, dict[str, list[float]]] = {url: {} for url in urls}
    better: dict[str, str] = {}
    for _ in range(args.rounds):
        for url in urls:
            for name, (value, direction) in (await measure(url, args.only)).items():
                samples[url].setdefault(name, []).append(value)
                better[name] = direction

    result = {}
    print(f"{'figure':44} {'this':>10}" + (f" {'other':>10} {'ratio':>7}" if args.vs else ""))
    for name in samples[args.url]:
        this = statistics.median(samples[args.url][name])
        line = f"{name:44} {this:10.2f}"
        result[name] = {"this": this, "better": better[name]}
        if args.vs:
            other = statistics.median(samples[args.vs][name])
            ratio = other / this if better[name] == LOWER else this / other
            result[name] |= {"other": other, "ratio": ratio}
            line += f" {other:10.2f} {ratio:7.2f}"
        print(line)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(result, f, indent=1)


if __name__ == "__main__":
    asyncio.run(main())
