"""What the graph engine costs per node: chains, fans and lattices of 10 to 10,000 trivial nodes on a real server.

python -m benchmarks.chains [--rounds N] [--sizes N ...] [--json FILE]: each graph is submitted over HTTP with one value
changed (fresh) and then again as it was (cached); the time is that from the request to the last event on the websocket.
The floor is the same nodes' functions called one after another in this process, with nothing around them.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.figures import Figure
from tests.serving import serving

Graph = dict[str, dict[str, object]]

SIZES = (10, 100, 500, 1000, 10_000)
ROUNDS = 5
CLIENT = "benchmark"


def node(class_type: str, **inputs: object) -> dict[str, object]:
    """A node of a graph; a link is written as a text "id" and stands for the node's first output."""
    return {"class_type": class_type, "inputs": inputs}


def chain(count: int, salt: int) -> Graph:
    """`count` ImageInvert on 8 x 8 pixels, one after another."""
    graph = {"start": node("EmptyImage", width=8, height=8, batch_size=1, color=salt)}
    last = "start"
    for index in range(count):
        graph[f"n{index}"] = node("ImageInvert", image=[last, 0])
        last = f"n{index}"
    graph["end"] = node("PreviewImage", images=[last, 0])
    return graph


def fan(count: int, salt: int) -> Graph:
    """One latent into count / 2 nodes, and those together again by twos."""
    graph = {"start": node("EmptyLatentImage", width=64, height=64, batch_size=1)}
    level = [f"n{index}" for index in range(max(2, count // 2))]
    for index, name in enumerate(level):
        graph[name] = node("LatentMultiply", samples=["start", 0], multiplier=1.0 + index / count + salt * 1e-6)
    made = 0
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        joined = []
        for first, second in pairs:
            graph[f"j{made}"] = node("LatentBlend", samples1=[first, 0], samples2=[second, 0], blend_factor=0.5)
            joined.append(f"j{made}")
            made += 1
        level = joined + level[len(joined) * 2 :]
    graph["end"] = node("SaveLatent", samples=[level[0], 0], filename_prefix="fan")
    return graph


def lattice(count: int, salt: int) -> Graph:
    """Rows of ten nodes, each of which links two of the row above."""
    width = 10
    graph = {"start": node("EmptyLatentImage", width=64, height=64, batch_size=1)}
    row = [f"r{index}" for index in range(width)]
    for index, name in enumerate(row):
        graph[name] = node("LatentMultiply", samples=["start", 0], multiplier=1.0 + index / 16 + salt * 1e-6)
    for line in range(1, max(2, count // width)):
        below = [f"n{line}.{index}" for index in range(width)]
        for index, name in enumerate(below):
            first, second = row[index], row[(index + 1) % width]
            graph[name] = node("LatentBlend", samples1=[first, 0], samples2=[second, 0], blend_factor=0.5)
        row = below
    for index in range(0, width - 1, 2):
        graph[f"end{index}"] = node("LatentBlend", samples1=[row[index], 0], samples2=[row[index + 1], 0],
                                    blend_factor=0.25)  # fmt: skip
    for index in range(0, width - 1, 2):
        graph[f"save{index}"] = node("SaveLatent", samples=[f"end{index}", 0], filename_prefix="lattice")
    return graph


SHAPES: Mapping[str, Callable[[int, int], Graph]] = {"chain": chain, "fan": fan, "lattice": lattice}


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Medians of one shape and size, in seconds."""

    shape: str
    nodes: int
    fresh_s: float
    cached_s: float
    floor_s: float

    @property
    def per_node_us(self) -> float:
        """Fresh time per node in microseconds."""
        return self.fresh_s / self.nodes * 1e6


# ---------------------------------------------------------------- the floor


def floor_s(graph: Graph) -> float:
    """Seconds that the functions of a graph's nodes take, called in the order they stand in; outputs are left out."""
    import torch

    module = importlib.import_module("nodes.builtin")
    classes: dict[str, type] = {}
    for name in module.MODULES:
        classes |= {cls.__name__: cls for cls in importlib.import_module(f"nodes.builtin.{name}").NODES}
    calls = []
    for name, item in graph.items():
        cls = classes[str(item["class_type"])]
        if not getattr(cls, "OUTPUT_NODE", False):
            calls.append((name, getattr(cls(), cls.FUNCTION), item["inputs"]))  # type: ignore[attr-defined]
    results: dict[str, object] = {}
    start = time.perf_counter()
    with torch.inference_mode():
        for name, function, inputs in calls:
            assert isinstance(inputs, dict)
            given = {key: results[value[0]] if isinstance(value, list) else value for key, value in inputs.items()}
            results[name] = function(**given)[0]
    return time.perf_counter() - start


# ---------------------------------------------------------------- a server


class Client:
    """One HTTP session with its websocket."""

    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._session = session
        self._socket = socket

    async def run(self, graph: Graph) -> float:
        """Seconds from sending a prompt to its last event; RuntimeError if it did not end well."""
        body = io.BytesIO(json.dumps({"prompt": graph, "client_id": CLIENT}).encode())
        start = time.perf_counter()
        async with self._session.post("/prompt", data=body, headers={"Content-Type": "application/json"}) as answer:
            told = await answer.json()
        if "prompt_id" not in told:
            raise RuntimeError(f"refused: {told}")
        good = False
        async for message in self._socket:
            if message.type != aiohttp.WSMsgType.TEXT:
                continue
            head = message.data[:40]
            good = good or '"execution_success"' in head
            if '"executing"' in head and json.loads(message.data)["data"]["node"] is None:
                taken = time.perf_counter() - start
                if not good:
                    raise RuntimeError(f"prompt {told['prompt_id']} did not end well")
                return taken
        raise RuntimeError("the server closed the websocket")


async def measure(url: str, sizes: list[int], rounds: int) -> list[Times]:
    """The figures of every shape and size; rounds go over all of them in turn."""
    times: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    counts: dict[tuple[str, int], int] = {}
    async with (
        aiohttp.ClientSession(url) as session,
        session.ws_connect(f"/ws?clientId={CLIENT}", max_msg_size=0) as socket,
    ):
        client = Client(session, socket)
        await client.run(chain(10, 0))
        await client.run(fan(10, 0))
        for salt in range(1, rounds + 1):
            for shape, size in cases(sizes):
                graph = SHAPES[shape](size, salt)
                counts[shape, size] = len(graph)
                row = (await client.run(graph), await client.run(graph), floor_s(graph))
                times.setdefault((shape, size), []).append(row)
    found = []
    for (shape, size), rows in times.items():
        fresh, cached, floor = (statistics.median(column) for column in zip(*rows, strict=True))
        figures = Times(shape=shape, nodes=counts[shape, size], fresh_s=fresh, cached_s=cached, floor_s=floor)
        found.append(figures)
    return found


def cases(sizes: list[int]) -> Iterator[tuple[str, int]]:
    """Every shape at every size."""
    for shape in SHAPES:
        for size in sizes:
            yield shape, size


def figures(sizes: Sequence[int] = (100, 500, 10_000), rounds: int = 3) -> list[Figure]:
    """The engine's targets: a chain of 500, and the cost per node at 10,000 beside that at 100, in every shape."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as url:
        found = asyncio.run(measure(url, list(sizes), rounds))
    named = "the nodes' functions called directly"
    result: list[Figure] = []
    for shape in SHAPES:
        small, middle, large = (item for item in found if item.shape == shape)
        if shape == "chain":
            floor = middle.floor_s * 1e3
            fresh, cached = middle.fresh_s * 1e3, middle.cached_s * 1e3
            for way, value, most in (("fresh", fresh, 250), ("cached", cached, 60)):
                name = f"chain of {sizes[1]:,}, {way}"
                result.append(Figure(name=name, value=value, unit="ms", floor=floor, floor_name=named, most=most))
        result.append(
            Figure(
                name=f"{shape}: per node, {sizes[2]:,}",
                value=large.per_node_us,
                unit="us",
                floor=small.per_node_us,
                floor_name=f"per node of {sizes[0]:,}",
                most_ratio=1.3,
            )
        )
    return result


def lines(found: list[Times]) -> Iterator[str]:
    """The table for people."""
    yield f"{'shape':8} {'nodes':>6} {'fresh ms':>9} {'cached ms':>10} {'floor ms':>9} {'us/node':>8} {'vs 100':>7}"
    base = {item.shape: item.per_node_us for item in found if 100 <= item.nodes < 130}
    for item in found:
        ratio = f"{item.per_node_us / base[item.shape]:6.2f}x" if item.shape in base else ""
        yield (
            f"{item.shape:8} {item.nodes:6} {item.fresh_s * 1e3:9.1f} {item.cached_s * 1e3:10.1f} "
            f"{item.floor_s * 1e3:9.2f} {item.per_node_us:8.0f} {ratio:>7}"
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--url", help="a running server instead of one of its own")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    if given.url:
        found = asyncio.run(measure(given.url, given.sizes, given.rounds))
    else:
        with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as url:
            found = asyncio.run(measure(url, given.sizes, given.rounds))
    for line in lines(found):
        sys.stdout.write(line + "\n")
    if given.json:
        rows = [{name: getattr(item, name) for name in item.__slots__} for item in found]
        given.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
