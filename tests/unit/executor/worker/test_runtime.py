"""Pieces of the worker's main thread that need no process."""

from pathlib import Path

import pytest
import torch

from executor.context import InterruptFlag
from executor.files import Folders
from executor.graph.pressure import make_cache
from executor.graph.run import RunResult
from executor.messages import Run
from executor.settings import Settings
from executor.worker import runtime
from executor.worker.control import Control, Job
from executor.worker.runtime import Worker
from executor.worker.services import Services
from tests.process.fake_nodes import load


class Unloading:
    """A memory that notes when it is emptied."""

    def __init__(self) -> None:
        self.times = 0

    def unload_all(self) -> None:
        self.times += 1


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    settings = Settings(base_directory=tmp_path)
    services = Services(settings=settings, folders=Folders(settings))
    services.__dict__["memory"] = Unloading()
    return Worker(
        control=Control.__new__(Control),
        services=services,
        registry=load(services),
        cache=make_cache("classic"),
        cpu_only=True,
        records=Path("attempts"),
    )


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: ..."),
    ],
)
def test_when_memory_runs_out_models_leave_and_the_tip_has_figures(worker: Worker, failure: Exception):
    assert "MiB free" in runtime._tip(worker, failure)
    assert worker.services.memory.times == 1


def test_other_failures_get_no_tip_and_cost_no_model(worker: Worker):
    assert runtime._tip(worker, RuntimeError("shapes differ")) == ""
    assert worker.services.memory.times == 0


def test_nodes_are_called_by_title_or_class():
    prompt = b'{"1": {"class_type": "Say", "_meta": {"title": "Greeting"}}, "2": {"class_type": "Say"}}'
    job = Job(Run(job_id="a", prompt_json=prompt, targets=()), InterruptFlag())
    assert runtime._titles(job) == {"1": "Greeting", "2": "Say"}


@pytest.mark.parametrize(
    ("seconds", "is_quick"),
    [([0.0001], True), ([1.0], False), ([0.0001, 1.0, 0.0001], True), ([0.0001, 1.0], False)],
)
def test_a_class_is_as_quick_as_its_node_that_ran_last(seconds: list[float], is_quick: bool):
    quick: set[str] = set()
    nodes = [("Say", each) for each in seconds]
    runtime._note_quick(quick, RunResult(state="succeeded", outputs={}, meta={}, messages=[], nodes=nodes))
    assert ("Say" in quick) == is_quick


@pytest.mark.parametrize(
    ("extra", "method", "wanted"),
    [
        (b"{}", "auto", "auto"),
        (b"{}", "none", "none"),
        (b'{"preview_method": "none"}', "auto", "none"),
        (b'{"preview_method": "taesd"}', "none", "taesd"),
        (b'{"preview_method": "default"}', "none", "none"),
        (b'{"preview_method": [1]}', "auto", "auto"),
    ],
)
def test_a_prompt_chooses_its_previews_before_the_server_does(extra: bytes, method: str, wanted: str):
    job = Run(job_id="a", prompt_json=b"{}", targets=(), extra_json=extra)
    assert runtime.preview_method(job, method) == wanted


def test_what_the_engine_gets_wrong_is_an_error_like_any_other():
    job = Job(Run(job_id="a", prompt_json=b"{}", targets=()), InterruptFlag())
    result = runtime._broken(job, ValueError("odd"))
    assert (result.state, [event for event, _ in result.messages]) == ("failed", ["execution_start", "execution_error"])


@pytest.mark.parametrize(
    ("run", "followed"),
    [
        (Run(job_id="a", prompt_json=b"{}", targets=(), alone=False), True),
        (Run(job_id="a", prompt_json=b"{}", targets=(), alone=True), False),
        (Run(job_id="b", prompt_json=b"{}", targets=(), alone=True), True),
        (Run(job_id="b", prompt_json=b"{}", targets=(), alone=True, trace="t"), False),
    ],
)
def test_a_prompt_is_followed_where_the_front_said_so(worker: Worker, run: Run, followed: bool):
    worker.control.followed = "b"
    assert runtime._is_followed(worker, run) == followed
