"""The worker's main thread: loads the nodes, then does what the front wants, one thing after another."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import queue
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from executor import messages
from executor.context import PreviewChoice, ProgressSink, RunContext, entered
from executor.contract.registry import Registry
from executor.files import Folders
from executor.graph.account import Rest, RunResult
from executor.graph.cache import Cache
from executor.graph.dynamic import DynamicPrompt
from executor.graph.pressure import make_cache
from executor.graph.progress import Progress
from executor.graph.report import Place, execution_error, now_ms
from executor.graph.run import run_prompt
from executor.inference.devices import is_out_of_memory
from executor.leftovers import Attempt, files_stand, record_folder, spare_folder
from executor.messages import Finished, Free, Packs, Ready, Refreshed, Run, Stats, Stop
from executor.short_paths import ShortPaths
from executor.spares import Spares
from executor.worker.answers import answer
from executor.worker.control import Control, Job, Work
from executor.worker.events import Audience, WireEvents
from executor.worker.finishing import Finishing
from executor.worker.gauge import RamGauge
from executor.worker.line import Line
from executor.worker.prompt_loop import PromptLoop
from executor.worker.services import Services
from executor.worker.stats import cuda_in_use, device_works, devices, is_device_lost, set_threads, usable_cores
from executor.worker.terminal import Terminal, make_terminal

log = logging.getLogger("weft.worker")

EXIT_BROKEN_DEVICE = 70
REFRESH_S = 0.05  # after each prompt, for asking pack classes whether they are listed otherwise
QUICK_S = 0.002  # a node that takes no longer is not told before it begins
QUIET_S = 0.02  # without work, before the device's figures are told
STATS_PAUSE_S = 0.5  # between two tellings while work follows on work


class NodeTable(Registry, Protocol):
    """What a loader returns: node classes, and their listings."""

    def wire_templates(self) -> Mapping[str, object]:
        """The /object_info entry of every class, with markers for lists of files."""
        ...


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(usable_cores(), thread_name_prefix="finishing")


@dataclass(slots=True, kw_only=True)
class Worker:
    """The parts of a running worker; `told` is what the front knows of its packs."""

    control: Control
    services: Services
    registry: NodeTable
    cache: Cache
    cpu_only: bool
    records: Path  # where attempts note the files that they write
    spares: Spares | None = None
    address: str = ""  # where the packs' routes are served
    told: Packs = field(default_factory=Packs)
    device_lost: bool = False  # by what a node raised: no later prompt can compute
    owner: str = ""  # of the prompt that ran last
    loop: PromptLoop = field(default_factory=PromptLoop)
    no_gradients: torch.inference_mode = field(default_factory=torch.inference_mode)  # entered for each prompt
    terminal: Terminal = field(default_factory=make_terminal)
    threads: ThreadPoolExecutor = field(default_factory=_threads)  # where nodes finish what others need not wait for
    finishing: Finishing = field(default_factory=Finishing)
    quick: set[str] = field(default_factory=set)  # classes whose nodes were over within QUICK_S when they ran last


def load_worker(control: Control, services: Services, loader: str, *, in_process: bool) -> Worker:
    """Import the nodes, then tell that prompts can come."""
    settings = services.settings
    if not in_process:
        set_threads(settings.workers)
    module, _, name = loader.partition(":")
    registry: NodeTable = getattr(importlib.import_module(module), name)(services)
    services.complete(registry=registry)
    cpu_only = settings.vram_mode == "cpu"
    worker = Worker(
        control=control,
        services=services,
        registry=registry,
        cache=make_cache(settings.cache_mode, settings.cache_size, headroom_gb=settings.cache_ram_gb, gauge=RamGauge()),
        cpu_only=cpu_only,
        records=record_folder(settings),
        spares=Spares(spare_folder(settings)),
        address=_serve_routes(services),
    )
    if services.packs is not None:
        worker.told = services.packs.told(worker.address)
    control.answerer = lambda question: answer(worker.registry, worker.services, question)
    with entered(RunContext(services=services.of_nobody())):
        templates = registry.wire_templates()
    control.send(
        Ready(
            definitions=tuple(registry.definitions.values()),
            wire_json=json.dumps(templates).encode(),
            devices=devices(cpu_only=cpu_only),
            torch_version=str(torch.__version__),
            packs=worker.told,
        )
    )
    return worker


def _serve_routes(services: Services) -> str:
    """Serve the packs' routes, if there are any; returns where."""
    app = services.packs.app if services.packs is not None else None
    if app is None or services.line is None:
        return ""
    from executor.worker.packweb import serve_routes

    try:
        return serve_routes(app, services.line)
    except Exception:  # border: packs may run code of theirs when their application starts
        log.exception("the packs' routes cannot be served")
        return ""


def work(worker: Worker) -> int:
    """Take what the front wants, in order, until it wants an end; returns the exit code."""
    try:
        return _work_off(worker)
    finally:
        worker.loop.close()
        worker.finishing.settle()
        worker.threads.shutdown()


def _work_off(worker: Worker) -> int:
    bulletin = Bulletin(worker)
    while True:
        match bulletin.next_work():
            case Job() as job:
                finished = _run(worker, job)
                if finished is None:
                    _refresh(worker)
                    continue
                worker.control.send(finished)
                if finished.leaves:
                    log.critical("the device does not compute any more: this worker ends, a new one starts")
                    return EXIT_BROKEN_DEVICE
                _refresh(worker)
            case Free() as wish:
                _free(worker, wish)
            case Stop():
                return 0


class Bulletin:
    """Tells the front the device's figures after work: once it pauses, and now and then while it does not."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._told_s = time.monotonic()
        self._is_old = False

    def next_work(self) -> Work:
        """The next thing that the front wants; waits for it."""
        jobs = self._worker.control.jobs
        if self._is_old and time.monotonic() - self._told_s < STATS_PAUSE_S:
            with suppress(queue.Empty):
                return jobs.get(timeout=QUIET_S)
        if self._is_old:
            loads, evictions = self._worker.services.moves()
            figures = devices(cpu_only=self._worker.cpu_only)
            self._worker.control.send(Stats(devices=figures, loads=loads, evictions=evictions))
            self._told_s = time.monotonic()
        self._is_old = True
        return jobs.get()


def _run(worker: Worker, job: Job) -> Finished | None:
    """Run one prompt on the event loop; whatever happens, it ends with a result, though that may come later (None).

    The prompt before has told its end by then.
    """
    worker.finishing.compute(computes=True)
    if job.run.trace:
        worker.finishing.settle()  # a trace shows one prompt
    services = _services_for(worker, job.run.owner)
    line = worker.services.line
    worker.device_lost = False
    attempt = Attempt(worker.records, job.run.row, job.run.attempt, worker.spares)
    attempt.begin(time.time_ns())
    previews = PreviewChoice(preview_method(job.run, worker.services.previews.method))
    if line is not None:
        line.began(job.run, job.flag, attempt, previews, services)
    events = _Watched(
        job.run,
        worker.control.send,
        hold=worker.control.hold,
        flush=worker.control.flush,
        preview_size=worker.services.settings.preview_size,
        terminal=worker.terminal,
        titles=lambda: _titles(job),
        previews=previews,
    )
    events.line, events.attempt, events.folders = line, attempt, services.folders
    events.quick = worker.quick
    try:
        context = RunContext(job_id=job.run.job_id, interrupt=job.flag, services=services, previews=previews)
        with worker.no_gradients, entered(context), _traced(job.run):
            result = worker.loop.run(
                run_prompt(
                    job=job.run,
                    registry=worker.registry,
                    cache=worker.cache,
                    events=events,
                    services=services,
                    interrupt=job.flag,
                    tip_for=lambda failure: _tip(worker, failure),
                    stands=events.stands,
                    threads=worker.threads,
                    leaves=lambda: _is_followed(worker, job.run),
                    earlier=worker.finishing,
                )
            )
    except Exception as failure:
        log.exception("prompt %s broke the engine", job.run.job_id)
        result = _broken(job, failure)
    finally:
        worker.terminal.close()
        if line is not None:
            line.ended()
    _note_quick(worker.quick, result)
    worker.finishing.settle()
    worker.finishing.compute(computes=False)
    if result.rest is None:
        leaves = result.state == "failed" and (worker.device_lost or not device_works())
        return _finished(worker, job, result, attempt, services, leaves=leaves)
    worker.control.send(messages.Finishing(job.run.job_id))
    worker.finishing.begin(result.rest, lambda rest: _conclude(worker, job, rest, attempt, services))
    return None


def _is_followed(worker: Worker, run: Run) -> bool:
    """Tell whether another prompt waits behind one: else its end is not put off, which costs a millisecond."""
    return not run.trace and (not run.alone or worker.control.followed == run.job_id)


def _conclude(worker: Worker, job: Job, rest: Rest, attempt: Attempt, services: Services) -> None:
    """End a prompt on the thread that waited for its files."""
    try:
        result = rest.finish()
    except Exception as failure:
        log.exception("the end of prompt %s broke the engine", job.run.job_id)
        result = _broken(job, failure)
    worker.control.send(_finished(worker, job, result, attempt, services))


def _finished(
    worker: Worker, job: Job, result: RunResult, attempt: Attempt, services: Services, *, leaves: bool = False
) -> Finished:
    """The end of a prompt in the words of the front."""
    attempt.close()
    claims = services.folders.claims
    if claims is not None:
        worker.finishing.unless_computing(claims.release)
    return Finished(
        job_id=job.run.job_id,
        state=result.state,
        outputs_json=json.dumps(result.outputs).encode(),
        meta_json=json.dumps(result.meta).encode(),
        messages_json=json.dumps(_told(result.messages, services)).encode(),
        leaves=leaves,
        wrote_files=attempt.has_files,
        nodes=tuple(result.nodes),
        reused=result.reused,
    )


def _told(messages: list[list[object]], services: Services) -> object:
    """What is told of a prompt, where it failed without the names of this machine's folders; the log has them."""
    if not any(event == "execution_error" for event, _ in messages):
        return messages
    return ShortPaths(services.settings, services.folders).value(messages)


def _traced(run: Run) -> AbstractContextManager[None]:
    """What tells what the prompt does and when, if somebody wants to know; it costs nothing else."""
    if not run.trace:
        return nullcontext()
    from executor.worker.tracing import traced

    return traced(run)


def _services_for(worker: Worker, owner: str) -> Services:
    """What the nodes of an owner's prompt reach; nothing that nodes keep in themselves passes to another owner."""
    if owner != worker.owner:
        worker.cache.part()
        worker.owner = owner
    return worker.services.of(owner)


class _Watched(WireEvents):
    """Events that tell the worker's line which node runs, and the attempt's record which files nodes show."""

    line: Line | None = None
    attempt: Attempt | None = None
    folders: Folders | None = None
    quick: Collection[str] = ()
    graph: DynamicPrompt | None = None

    def is_quick(self, node_id: str) -> bool:
        """Tell whether the nodes of its class were over at once when they ran last."""
        return self.graph is not None and self.graph.class_type(node_id) in self.quick

    def emit(self, event: str, data: Mapping[str, object], audience: Audience) -> None:
        """Send a websocket event."""
        if event == "executing" and self.line is not None and data.get("node") is not None:
            self.line.node_started(str(data["node"]))
        if event == "executed" and self.attempt is not None and self.folders is not None:
            self.attempt.shown(data.get("output"), self.folders)
        super().emit(event, data, audience)

    def stands(self, ui: object) -> bool:
        """Tell whether the files that a result shows are still there."""
        return ui is None or self.folders is None or files_stand(ui, self.folders)

    def follow(self, sink: ProgressSink) -> None:
        """A prompt begins: threads of its nodes tell their steps to its progress."""
        self.graph = sink.graph if isinstance(sink, Progress) else None
        if self.line is not None:
            self.line.sink = sink
            if isinstance(sink, Progress):
                sink.followers += [follow(sink) for follow in self.line.followers]


def _note_quick(quick: set[str], result: RunResult) -> None:
    """Learn from a prompt which classes are over at once: of many nodes of a class, one may have had to wait."""
    for name, seconds in result.nodes:
        if seconds > QUICK_S:
            quick.discard(name)
        else:
            quick.add(name)


def _refresh(worker: Worker) -> None:
    """Tell the front what is otherwise than before this prompt: listings of pack classes, what packs asked for."""
    packs = worker.services.packs
    if packs is None:
        return
    with worker.services.telling:  # who asks meanwhile is answered after what is told here
        definitions, listings = packs.changed(REFRESH_S, lambda: not worker.control.jobs.empty())
        told = packs.told(worker.address)
        if definitions or told != worker.told:
            worker.told = told
            wire_json = json.dumps(listings).encode()
            worker.control.send(Refreshed(definitions=tuple(definitions), wire_json=wire_json, packs=told))


def preview_method(job: Run, usual: str) -> str:
    """How pictures of the work so far are made: as the prompt's own `preview_method` says, else as the server's."""
    if b"preview_method" not in job.extra_json:
        return usual
    extra: dict[str, object] = json.loads(job.extra_json)
    chosen = extra.get("preview_method")
    return str(chosen) if chosen in ("none", "auto", "latent2rgb", "taesd") else usual


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
    """Advice for a failed node; when the device's memory ran out, every model leaves it at once.

    When the device itself is lost, that is noted: the worker ends after the prompt.
    """
    worker.device_lost = worker.device_lost or is_device_lost(failure)
    if not is_out_of_memory(failure):
        return ""
    worker.services.unload_models()
    figures = "; ".join(
        f"{device.name}: {device.vram_free >> 20} of {device.vram_total >> 20} MiB free"
        for device in devices(cpu_only=worker.cpu_only)
    )
    return f"The device ran out of memory ({figures}). Try a smaller size or batch, or start with --lowvram.\n"


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
