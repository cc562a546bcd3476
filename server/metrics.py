"""Figures of a running server in Prometheus's text form. Hears of jobs, workers and requests; answers no request.

What others know already (queue, devices, clients) is read when it is asked for; what passes by is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from executor.engine.base import Engine
from executor.messages import Device, Finished, Stats
from executor.queue.job import Job, now_ms
from executor.queue.store import Store

WAITS_S = (0.05, 0.2, 1, 5, 15, 60, 300, 1800, 7200)
NODES_S = (0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300)
PROMPTS_S = (0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
REQUESTS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10)
OTHER = "other"
"""The route of requests that match none: their paths are as many as somebody likes to make up."""


class Metrics:
    """All figures of one server."""

    def __init__(self, store: Store, engine: Engine, clients: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_State(store, engine, clients, self._moves))
        self._moved: dict[str, Stats] = {}  # by worker: what its process told last
        self._moved_before = [0, 0]  # loads and evictions of processes that have ended
        counter, histogram = self._counter, self._histogram
        self._wait = histogram("queue_wait_seconds", "Time from submission to start", (), WAITS_S)
        about = "Time from start to end of prompts, by how they ended"
        self._prompts = histogram("prompt_seconds", about, ("state",), PROMPTS_S)
        self._nodes = histogram("node_seconds", "Time of nodes that ran, by class", ("class",), NODES_S)
        self._results = counter("node_results", "Results of nodes, computed or had from the cache", ("source",))
        self._removed = counter("retention_removed", "Files and entries that were too much", ("folder",))
        self._removed_bytes = counter("retention_removed_bytes", "Their size", ("folder",))
        self._webhooks = counter("webhook_tries", "Tries of webhooks, by what came of them", ("outcome",))
        self._requests = counter("http_requests", "Answered requests", ("method", "route", "status"))
        self._answers = histogram("http_request_seconds", "Time to answer requests, by route", ("route",), REQUESTS_S)
        self._computed, self._reused = self._results.labels("computed"), self._results.labels("cache")
        self._counted: dict[tuple[str, str, int], Counter] = {}  # looking labels up costs more than counting
        self._timed: dict[str, Histogram] = {}

    def text(self) -> bytes:
        """All figures in Prometheus's text form, version 0.0.4."""
        return generate_latest(self._registry)

    # ---------------------------------------------------------------- what passes by

    def ended(self, job: Job, told: Finished) -> None:
        """A worker ended a prompt."""
        if job.started_ms is not None:
            self._wait.observe(max(0, job.started_ms - job.created_ms) / 1000)
            self._prompts.labels(told.state).observe(max(0, now_ms() - job.started_ms) / 1000)
        for name, seconds in told.nodes:
            self._nodes.labels(name).observe(seconds)
        self._computed.inc(len(told.nodes))
        self._reused.inc(told.reused)

    def stats(self, worker: str, told: Stats) -> None:
        """A worker told how often it moved models."""
        before = self._moved.get(worker)
        if before is not None and told.loads < before.loads:  # a new process counts from nothing
            self._moved_before[0] += before.loads
            self._moved_before[1] += before.evictions
        self._moved[worker] = told

    def removed(self, folder: str, files: int, nbytes: int) -> None:
        """Files of a folder, or entries of the history, were removed because they were too much."""
        self._removed.labels(folder).inc(files)
        self._removed_bytes.labels(folder).inc(nbytes)

    def webhook(self, outcome: str) -> None:
        """A webhook was tried: delivered, failed and to be tried again, or given up."""
        self._webhooks.labels(outcome).inc()

    def answered(self, method: str, route: str | None, status: int, seconds: float | None) -> None:
        """A request was answered; `route` is the pattern of its path, `seconds` None where it goes on."""
        route = route or OTHER
        counted = self._counted.get((method, route, status))
        if counted is None:
            counted = self._counted[method, route, status] = self._requests.labels(method, route, str(status))
        counted.inc()
        if seconds is None:
            return
        timed = self._timed.get(route)
        if timed is None:
            timed = self._timed[route] = self._answers.labels(route)
        timed.observe(seconds)

    def _moves(self) -> tuple[int, int]:
        now = self._moved.values()
        loads, evictions = self._moved_before
        return loads + sum(told.loads for told in now), evictions + sum(told.evictions for told in now)

    # ---------------------------------------------------------------- making them

    def _counter(self, name: str, text: str, labels: Iterable[str]) -> Counter:
        return Counter(f"weft_{name}", text, tuple(labels), registry=self._registry)

    def _histogram(self, name: str, text: str, labels: Iterable[str], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"weft_{name}", text, tuple(labels), registry=self._registry, buckets=buckets)


class _State(Collector):
    """How things stand at the moment of asking."""

    def __init__(
        self, store: Store, engine: Engine, clients: Callable[[], int], moves: Callable[[], tuple[int, int]]
    ) -> None:
        self._store, self._engine, self._clients, self._moves = store, engine, clients, moves

    def describe(self) -> Iterable[Metric]:
        """Nothing: asking a server that has not opened its queue yet would be too early."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The metrics of this moment."""
        yield _gauge("queue_pending", "Prompts that wait", len(self._store.pending()))
        yield _gauge("queue_running", "Prompts that run", len(self._store.running()))
        yield _gauge(
            "webhooks_waiting", "Webhooks that are still to be delivered", len(self._store.deliveries.waiting())
        )
        yield _gauge("websocket_clients", "Open websockets", self._clients())
        loads, evictions = self._moves()
        yield CounterMetricFamily("weft_model_loads", "Modules of models that were placed on a device", value=loads)
        yield CounterMetricFamily("weft_model_evictions", "Modules that made room for others", value=evictions)
        yield from self._workers()

    def _workers(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("weft_worker_up", "Whether a worker can run prompts", labels=["worker"])
        restarts = CounterMetricFamily("weft_worker_restarts", "Starts of a worker after its first", labels=["worker"])
        labels = ["worker", "device", "kind"]
        memory = GaugeMetricFamily("weft_device_memory_bytes", "Memory of the workers' devices", labels=labels)
        for info in self._engine.workers():
            up.add_metric([info.id], float(info.state in ("idle", "busy")))
            restarts.add_metric([info.id], max(0, info.starts - 1))
            for device in info.devices:
                for kind, value in _memory(device):
                    memory.add_metric([info.id, device.name, kind], value)
        return up, restarts, memory


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"weft_{name}", text, value=value)


def _memory(device: Device) -> tuple[tuple[str, int], ...]:
    return (("total", device.vram_total), ("free", device.vram_free))
