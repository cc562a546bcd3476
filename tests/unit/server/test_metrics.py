"""Figures in Prometheus's form: read back by the same library's parser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from executor.messages import Finished, Stats
from executor.queue.job import Job
from server.metrics import Metrics

ROOT = Path(__file__).parents[3]


class Nothing:
    """A queue with nothing in it, and an engine without workers."""

    def pending(self) -> list[object]:
        return []

    running = workers = waiting = pending

    @property
    def deliveries(self) -> Nothing:
        return self


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Nothing(), Nothing(), lambda: 3)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The value of a sample; None if there is none."""
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return None


def finished(**fields: object) -> Finished:
    empty = {"outputs_json": b"{}", "meta_json": b"{}", "messages_json": b"[]"}
    return Finished(job_id="a", state="succeeded", **empty, **fields)


def test_a_prompt_counts_once_with_its_nodes_and_what_the_cache_had(metrics: Metrics):
    job = Job(id="a", number=0, prompt_json=b"{}", targets=(), created_ms=1000, started_ms=3000)
    metrics.ended(job, finished(nodes=(("KSampler", 2.0), ("KSampler", 1.0)), reused=4))
    assert value(metrics, "weft_queue_wait_seconds_sum") == 2.0
    assert value(metrics, "weft_prompt_seconds_count", state="succeeded") == 1
    assert value(metrics, "weft_node_seconds_sum", **{"class": "KSampler"}) == 3.0
    assert value(metrics, "weft_node_results_total", source="computed") == 2
    assert value(metrics, "weft_node_results_total", source="cache") == 4


def test_moves_of_models_add_up_over_workers_and_their_restarts(metrics: Metrics):
    metrics.stats("w0", Stats(devices=(), loads=5, evictions=1))
    metrics.stats("w1", Stats(devices=(), loads=1))
    metrics.stats("w0", Stats(devices=(), loads=2))
    assert value(metrics, "weft_model_loads_total") == 8
    assert value(metrics, "weft_model_evictions_total") == 1


def test_made_up_paths_are_one_route(metrics: Metrics):
    metrics.answered("GET", None, 404, 0.1)
    metrics.answered("GET", None, 404, 0.1)
    assert value(metrics, "weft_http_requests_total", method="GET", route="other", status="404") == 2


def test_a_websocket_is_counted_but_not_timed(metrics: Metrics):
    metrics.answered("GET", "/ws", 101, None)
    assert value(metrics, "weft_http_requests_total", method="GET", route="/ws", status="101") == 1
    assert value(metrics, "weft_http_request_seconds_count", route="/ws") is None


async def test_the_route_shows_queue_clients_workers_and_requests(stand):
    await stand.submit()
    async with stand.client.ws_connect("/ws"):
        await stand.client.get("/view", params={"filename": "none.png"})
        text = await (await stand.client.get("/metrics")).text()
    lines = text.splitlines()
    assert "weft_queue_running 1.0" in lines
    assert "weft_websocket_clients 1.0" in lines
    assert any(line.startswith("weft_worker_up{") and line.endswith(" 1.0") for line in lines)
    assert 'weft_http_requests_total{method="GET",route="/view",status="404"} 1.0' in lines
    assert any(line.startswith("weft_device_memory_bytes{") for line in lines)


def test_the_dashboard_asks_for_figures_that_there_are(metrics: Metrics):
    panels = json.loads((ROOT / "docs" / "grafana.json").read_text())["panels"]
    asked = {
        name for panel in panels for target in panel["targets"] for name in re.findall(r"weft_\w+", target["expr"])
    }
    text = metrics.text().decode()
    known = {name for line in text.splitlines() if line.startswith("# TYPE") for name in [line.split()[2]]}
    stems = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in asked}
    assert stems <= {re.sub(r"_total$", "", name) for name in known}
