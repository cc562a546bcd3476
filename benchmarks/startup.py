"""How fast a server is there, and how much memory its front takes.

Times are seconds from the start of the process, medians of `ROUNDS`, each beside its floor started right before it.
The base directory is kept from round to round, as a user's is: the first start of all describes the nodes once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.bare import bare
from benchmarks.figures import Figure, median
from tests.serving import ROOT

ROUNDS = 3
PATIENCE_S = 120.0
BIND = "import aiohttp.web, socket; socket.create_server(('127.0.0.1', 0))"
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 1}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}


def figures() -> list[Figure]:
    """Start to first answer, start to first prompt done, memory of the front."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        started(Path(folder))
        for _ in range(ROUNDS):
            rows.append((run_s(BIND), run_s("import torch"), *started(Path(folder))))
    bind, torch, answer, prompt, megabytes = (median(column) for column in zip(*rows, strict=True))
    with bare([b"{}"]) as (_, pid):
        empty = psutil.Process(pid).memory_info().rss / 1e6
    return [
        Figure(name="start to first answer", value=answer, unit="s", floor=bind,
               floor_name="import aiohttp, bind", most_ratio=2.0),
        Figure(name="start to first prompt done", value=prompt, unit="s", floor=torch,
               floor_name="import torch", most_ratio=1.5),
        Figure(name="memory of the front", value=megabytes, unit="MB", floor=empty,
               floor_name="empty aiohttp server", most_above=40.0),
    ]  # fmt: skip


def run_s(program: str) -> float:
    """Seconds that a program takes in an interpreter of its own."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    return time.perf_counter() - start


def started(base: Path) -> tuple[float, float, float]:
    """Seconds to the first answer and to the end of the first prompt, and the megabytes of the front after it."""
    start = time.perf_counter()
    with front(base) as (url, pid):
        answered = time.perf_counter() - start
        body = json.dumps({"prompt": GRAPH}).encode()
        told = json.loads(urllib.request.urlopen(f"{url}/prompt", data=body, timeout=PATIENCE_S).read())
        while not json.loads(urllib.request.urlopen(f"{url}/history/{told['prompt_id']}", timeout=10).read()):
            time.sleep(0.005)
        done = time.perf_counter() - start
        return answered, done, psutil.Process(pid).memory_info().rss / 1e6


@contextmanager
def front(base: Path) -> Iterator[tuple[str, int]]:
    """A server that has answered once: its address and process id."""
    command = [sys.executable, "-m", "server", "--base-directory", str(base), "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        url = line[line.index("http://") :].strip()
        urllib.request.urlopen(f"{url}/prompt", timeout=10).read()
        yield url, process.pid
    finally:
        process.terminate()
        process.communicate()
