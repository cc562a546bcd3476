"""The worker's main thread: loads the nodes, then does what the front wants, one thing after another."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from executor.context import RunContext, entered
from executor.contract.registry import Registry
from executor.files import Folders
from executor.graph.cache import Cache, make_cache
from executor.graph.report import Place, execution_error, now_ms
from executor.graph.run import RunResult, run_prompt
from executor.messages import Finished, Free, Ready, Run, Stats, Stop
from executor.settings import Settings
from executor.worker.answers import answer
from executor.worker.control import Control, Job
from executor.worker.events import WireEvents
from executor.worker.services import Services
from executor.worker.stats import cuda_in_use, device_works, devices, set_threads
from executor.worker.terminal import make_terminal

log = logging.getLogger("weft.worker")

EXIT_BROKEN_DEVICE = 70


class NodeTable(Registry, Protocol):
    """What a loader returns: node classes, and their listings."""

    def wire_templates(self) -> Mapping[str, object]:
        """The /object_info entry of every class, with markers for lists of files."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """The parts of a running worker."""

    control: Control
    services: Services
    registry: NodeTable
    cache: Cache
    cpu_only: bool


def load_worker(control: Control, settings: Settings, loader: str, *, in_process: bool) -> Worker:
    """Import torch and the nodes, then tell that prompts can come."""
    if not in_process:
        set_threads()
    services = Services(settings=settings, folders=Folders(settings))
    module, _, name = loader.partition(":")
    registry: NodeTable = getattr(importlib.import_module(module), name)(services)
    cpu_only = settings.vram_mode == "cpu"
    worker = Worker(
        control=control,
        services=replace(services, registry=registry),
        registry=registry,
        cache=make_cache(settings.cache_mode, settings.cache_size),
        cpu_only=cpu_only,
    )
    control.answerer = lambda question: answer(worker.registry, worker.services, question)
    control.send(
        Ready(
            definitions=tuple(registry.definitions.values()),
            wire_json=json.dumps(registry.wire_templates()).encode(),
            devices=devices(cpu_only=cpu_only),
            torch_version=str(torch.__version__),
        )
    )
    return worker


def work(worker: Worker) -> int:
    """Take what the front wants, in order, until it wants an end."""
    while True:
        match worker.control.jobs.get():
            case Job() as job:
                finished = _run(worker, job)
                worker.control.send(finished)
                if finished.state == "failed" and not device_works():
                    log.critical("the device does not compute any more: this worker ends, a new one starts")
                    return EXIT_BROKEN_DEVICE
            case Free() as wish:
                _free(worker, wish)
            case Stop():
                return 0
        _tell_stats(worker)


def _run(worker: Worker, job: Job) -> Finished:
    """Run one prompt on an event loop of its own; whatever happens, it ends with a result."""
    terminal = make_terminal()
    events = WireEvents(
        job.run,
        worker.control.send,
        flush=worker.control.flush,
        preview_size=worker.services.settings.preview_size,
        terminal=terminal,
        titles=_titles(job),
        previews=wants_previews(job.run, worker.services.settings.preview_method),
    )
    try:
        with torch.inference_mode(), entered(RunContext(services=worker.services)):
            result = asyncio.run(
                run_prompt(
                    job=job.run,
                    registry=worker.registry,
                    cache=worker.cache,
                    events=events,
                    services=worker.services,
                    interrupt=job.flag,
                    tip_for=lambda failure: _tip(worker, failure),
                )
            )
    except Exception as failure:
        log.exception("prompt %s broke the engine", job.run.job_id)
        result = _broken(job, failure)
    finally:
        terminal.close()
    return Finished(
        job_id=job.run.job_id,
        state=result.state,
        outputs_json=json.dumps(result.outputs).encode(),
        meta_json=json.dumps(result.meta).encode(),
        messages_json=json.dumps(result.messages).encode(),
    )


def wants_previews(job: Run, method: str) -> bool:
    """Whether pictures of the work so far are made: as the prompt's own `preview_method` says, else as the server's."""
    extra: dict[str, object] = json.loads(job.extra_json)
    chosen = extra.get("preview_method")
    return (chosen if chosen in ("none", "auto", "latent2rgb", "taesd") else method) != "none"


def _titles(job: Job) -> dict[str, str]:
    """What people call the nodes of a prompt: their title, else their class."""
    prompt: dict[str, dict[str, object]] = json.loads(job.run.prompt_json)
    titles: dict[str, str] = {}
    for node_id, node in prompt.items():
        told = node.get("_meta")
        title = told.get("title") if isinstance(told, dict) else None
        titles[node_id] = str(title or node.get("class_type"))
    return titles


def _tip(worker: Worker, failure: BaseException) -> str:
    """Advice for a failed node; when the device's memory ran out, every model leaves it at once."""
    if not _is_out_of_memory(failure):
        return ""
    worker.services.unload_models()
    figures = "; ".join(
        f"{device.name}: {device.vram_free >> 20} of {device.vram_total >> 20} MiB free"
        for device in devices(cpu_only=worker.cpu_only)
    )
    return f"The device ran out of memory ({figures}). Try a smaller size or batch, or start with --lowvram.\n"


def _is_out_of_memory(failure: BaseException) -> bool:
    if isinstance(failure, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(failure, RuntimeError) and "can't allocate memory" in str(failure)  # torch on the CPU


def _broken(job: Job, failure: Exception) -> RunResult:
    """The result of a prompt that the engine itself failed at: an error like any other, the worker lives on."""
    prompt_id = job.run.job_id
    place: Place = {"prompt_id": prompt_id, "node_id": "", "node_type": "", "executed": []}
    error = execution_error(failure, place, inputs={}, outputs=[])
    messages: list[list[object]] = [
        ["execution_start", {"prompt_id": prompt_id, "timestamp": now_ms()}],
        ["execution_error", error],
    ]
    return RunResult(state="failed", outputs={}, meta={}, messages=messages)


def _free(worker: Worker, wish: Free) -> None:
    if wish.models:
        worker.services.unload_models()
    if wish.cache:
        worker.cache.clear()
    gc.collect()
    if cuda_in_use():
        torch.cuda.empty_cache()


def _tell_stats(worker: Worker) -> None:
    worker.control.send(Stats(devices=devices(cpu_only=worker.cpu_only)))
