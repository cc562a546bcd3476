"""Whole prompts over HTTP and websocket, as bench_server.py measures them, beside what the disk and the nodes take.

The floor of a fresh prompt is its nodes' functions called directly and two durable commits (taken in and given to a
worker, ended); that of a cached one is one commit. A commit is one row in a WAL database with synchronous=FULL, opened
as executor/queue/database.py opens it; the encoding of the picture is in no floor.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks import bench_server
from benchmarks.chains import floor_s
from benchmarks.figures import Figure, median
from executor.queue.database import connect, stretch
from tests.serving import serving

ROUNDS = 3
COMMITS = 200


def figures() -> list[Figure]:
    """Latency of one prompt at a time, and prompts per second from sixteen submitters."""
    with tempfile.TemporaryDirectory() as folder:
        commits, rounds = [], []
        with serving(Path(folder)) as url:
            for number in range(ROUNDS):
                commits.append(commit_ms(Path(folder) / f"floor{number}.sqlite3"))
                rounds.append(asyncio.run(bench_server.measure(url, ["latency", "throughput"])))
    commit = median(commits)
    found = {name: median([figures[name][0] for figures in rounds]) for name in rounds[0]}
    graph = bench_server.Server("").fresh()
    floor_s(graph)
    bodies = floor_s(graph) * 1000
    return [
        Figure(name="prompt fresh p50", value=found["prompt fresh p50 ms"], unit="ms", floor=bodies + 2 * commit,
               floor_name="nodes' functions, 2 commits", most_above=4.0),
        Figure(name="prompt cached p50", value=found["prompt fully cached p50 ms"], unit="ms", floor=commit,
               floor_name="1 commit", most_above=2.0),
        Figure(name="prompts executed, 16 submitters", value=found["prompts executed /s"], unit="/s", least=300.0),
        Figure(name="prompts accepted, 16 submitters", value=found["prompts accepted /s"], unit="/s"),
    ]  # fmt: skip


def commit_ms(path: Path) -> float:
    """Milliseconds of one durable commit of one row of a kilobyte into a new database."""
    connection = connect(str(path))
    stretch(connection)
    connection.execute("CREATE TABLE t (body BLOB)")
    times = []
    for _ in range(COMMITS):
        start = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (?)", (b"x" * 1000,))
        connection.execute("COMMIT")
        times.append((time.perf_counter() - start) * 1000)
    connection.close()
    return median(times)
