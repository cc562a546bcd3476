"""Traces one prompt: which node and which phase of sampling ran when. Functions are replaced only while that runs.

Phases are told by the functions that all ways lead through: network, guided model, method, autoencoder, text models,
weights, modules, pictures and files. On a GPU the device is waited for at both ends of each, so a traced prompt is
slower there.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from executor.graph.call import Call
from executor.inference import building, weights
from executor.inference.diffusion import DiffusionModel
from executor.inference.guidance import Guider, Inpainting
from executor.inference.guider import GuidedModel
from executor.inference.memory import Memory, Part
from executor.inference.patching import PatchSet
from executor.inference.samplers import Callback, Model, Sampler
from executor.inference.samplers.base import Sigmas, silent
from executor.inference.text.clip import Clip
from executor.inference.vae import Vae
from executor.leftovers import Attempt
from executor.messages import Run
from executor.trace import Event, Row, Trace
from executor.worker.stats import cuda_in_use

log = logging.getLogger("weft.worker")

NODES, PHASES, OPERATORS = "nodes", "phases", "operators"
PROMPT = Row(group=NODES, name="prompt")


def _phase(name: str) -> Row:
    return Row(group=PHASES, name=name)


READ, PLACE, PATCH = _phase("weights: read"), _phase("weights: place"), _phase("weights: patch and merge")
BUILD = _phase("modules: import and build")
TEXT = _phase("text encode")
STEP = _phase("sampling: step")
FORWARD, GUIDANCE = _phase("sampling: model forward"), _phase("sampling: guidance")
ARITHMETIC, TOLD = _phase("sampling: sampler arithmetic"), _phase("sampling: progress and previews")
ENCODE, DECODE = _phase("VAE encode"), _phase("VAE decode")
PICTURE, SAVE = _phase("picture encode"), _phase("file write")
ORDER = (
    *(PROMPT, READ, BUILD, PLACE, PATCH, TEXT, STEP, FORWARD, GUIDANCE, ARITHMETIC, TOLD),
    *(ENCODE, DECODE, PICTURE, SAVE),
)

_LOAD, _METHOD, _GUIDED = _phase("load"), _phase("method"), _phase("guided model")
"""Of which only what is not within others is shown."""

_WHOLE: tuple[tuple[object, str, Row], ...] = (
    (weights, "_read_seen", READ),
    (building, "hollow", BUILD),
    (Memory, "load", _LOAD),
    (Clip, "encoded", TEXT),
    (DiffusionModel, "apply_model", FORWARD),
    *((owner, name, _GUIDED) for owner in (Guider, GuidedModel, Inpainting) for name in ("__call__", "both")),
    (Vae, "encode", ENCODE),
    (Vae, "encode_tiled", ENCODE),
    (Vae, "decode", DECODE),
    (Vae, "decode_tiled", DECODE),
)
"""Functions that are a phase as a whole: owner, name, row."""


@contextmanager
def traced(run: Run) -> Iterator[None]:
    """Trace what runs in the block, and write it where the prompt wants it, also if the block fails."""
    trace = Trace((NODES, PHASES))
    trace.clock = functools.partial(_settled, trace.now)
    operators: list[Event] = []
    heard = _operators(operators) if run.trace_operators else nullcontext()
    try:
        with heard, hooked(trace, json.loads(run.prompt_json)), trace.span(PROMPT, run.job_id):
            yield
    finally:
        _derive(trace)
        try:
            trace.write(Path(run.trace), ORDER, operators, prompt_id=run.job_id, torch=torch.__version__)
        except FileNotFoundError:  # who asked left, and took the folder along
            log.info("nobody waits for the trace of %s any more", run.job_id)
        except OSError as error:
            log.error("the trace could not be written: %s", error)


def _derive(trace: Trace) -> None:
    """What is nobody's function: guidance is a guided model without its network, arithmetic a method without both.

    Placing is loading without the patches (LoRAs, merges, hooks), which are made when a model is needed.
    """
    trace.add_gaps(PLACE, "place", _LOAD, [PATCH])
    trace.add_gaps(GUIDANCE, "guidance", _GUIDED, [FORWARD, PATCH])
    trace.add_gaps(ARITHMETIC, "sampler arithmetic", _METHOD, [_GUIDED, TOLD, PATCH])
    trace.drop([_LOAD, _METHOD, _GUIDED])


@contextmanager
def hooked(trace: Trace, prompt: Mapping[str, Mapping[str, object]]) -> Iterator[None]:
    """Functions replaced by ones that tell a trace what they took; all are back at the end of the block."""
    from PIL.Image import Image

    with ExitStack() as stack:
        for owner, name, row in (*_WHOLE, (Image, "save", PICTURE)):
            stack.enter_context(_replaced(owner, name, functools.partial(_whole, trace, row)))
        stack.enter_context(_replaced(Call, "_one", functools.partial(_node, trace, prompt)))
        stack.enter_context(_replaced(Part, "patch", functools.partial(_patch, trace)))
        stack.enter_context(_replaced(Sampler, "run", functools.partial(_method, trace)))
        begun: dict[str, int] = {}
        stack.enter_context(_replaced(Attempt, "part", functools.partial(_begin, trace, begun)))
        stack.enter_context(_replaced(Attempt, "made", functools.partial(_written, trace, begun)))
        yield


@contextmanager
def _replaced(owner: object, name: str, wrapped: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    usual = vars(owner)[name]
    setattr(owner, name, functools.wraps(usual)(wrapped(usual)))
    try:
        yield
    finally:
        setattr(owner, name, usual)


# ---------------------------------------------------------------- the functions in the place of others


def _whole(trace: Trace, row: Row, usual: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: object, **options: object) -> object:
        with trace.span(row, row.name.rpartition(": ")[2]):
            return usual(*args, **options)

    return call


def _node(
    trace: Trace, prompt: Mapping[str, Mapping[str, object]], usual: Callable[..., Any]
) -> Callable[[Call, Mapping[str, object], int], object]:
    def call(self: Call, arguments: Mapping[str, object], index: int) -> object:
        node_id = self.context.node_id
        kind = str(prompt.get(node_id, {}).get("class_type") or "made by a node")
        row = Row(group=NODES, name=f"{node_id} {kind}")
        told = {"node": node_id, "class": kind, "function": getattr(self.function, "__name__", ""), "item": index}
        begin_ns = trace.clock()

        def end(task: object = None) -> None:
            trace.add(row, kind, begin_ns, trace.clock(), **told)

        result = None
        try:
            result = usual(self, arguments, index)
        finally:
            if isinstance(result, asyncio.Task):
                result.add_done_callback(end)
            else:
                end()
        return result

    return call


def _method(trace: Trace, usual: Callable[..., Any]) -> Callable[..., Any]:
    def run(
        self: Sampler, model: Model, x: Tensor, sigmas: Sigmas, *, seed: int = 0, callback: Callback = silent
    ) -> object:
        began_ns = trace.clock()

        def told(index: int, noisy: Tensor, denoised: Tensor) -> None:
            nonlocal began_ns
            with trace.span(TOLD, "progress"):
                callback(index, noisy, denoised)
            now_ns = trace.clock()
            trace.add(STEP, f"step {index + 1}", began_ns, now_ns, step=index + 1, sampler=self.name)
            began_ns = now_ns

        with trace.span(_METHOD, self.name):
            return usual(self, model, x, sigmas, seed=seed, callback=told)

    return run


def _patch(trace: Trace, usual: Callable[..., Any]) -> Callable[..., Any]:
    def patch(self: Part[Any], patches: PatchSet, made: Mapping[str, Tensor] | None = None) -> None:
        changes = patches.id != self.patches.id and (patches.by_key or self.patches.by_key)
        with trace.span(PATCH, f"patch {self.name}") if changes else nullcontext():
            usual(self, patches, made)

    return patch


def _begin(trace: Trace, begun: dict[str, int], usual: Callable[..., Any]) -> Callable[..., Any]:
    def part(self: Attempt, path: Path) -> None:
        begun[str(path)] = trace.clock()
        usual(self, path)

    return part


def _written(trace: Trace, begun: dict[str, int], usual: Callable[..., Any]) -> Callable[..., Any]:
    def made(self: Attempt, path: Path, written: Path) -> None:
        usual(self, path, written)
        begin_ns = begun.pop(str(written), None)
        if begin_ns is not None:
            trace.add(SAVE, path.name, begin_ns, trace.clock(), path=str(path))

    return made


# ---------------------------------------------------------------- the device


def _settled(now: Callable[[], int]) -> int:
    """This moment, after what the GPU was given is done."""
    if cuda_in_use() and not torch.cuda.is_current_stream_capturing():
        torch.cuda.synchronize()
    return now()


@contextmanager
def _operators(found: list[Event]) -> Iterator[None]:
    """Every operator that torch runs in the block, as events at Unix time."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    # Without `acc_events` older PyTorch (2.11) warns that events of earlier cycles go: there are none.
    profiler: AbstractContextManager[Any] = torch.profiler.profile(activities=kinds, acc_events=True)
    with profiler as told:
        yield
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "operators.json"
        told.export_chrome_trace(str(path))
        whole = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    base_us = int(whole.get("baseTimeNanoseconds", 0)) / 1000
    for event in whole["traceEvents"]:
        numbered = isinstance(event.get("pid"), int) and isinstance(event.get("tid"), int)
        if event.get("ph") == "X" and numbered:
            found.append({**event, "cat": OPERATORS, "ts": event["ts"] + base_us})
