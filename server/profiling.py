"""What `weft profile` does: runs one workflow in a worker of its own, which writes a trace, and sums that up."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from msgspec import structs

from executor.engine.base import Engine, Heard, WorkerLost
from executor.errors import BadInput, WorkerCrashed
from executor.files import Folders
from executor.graph.prompt import Prompt, require_object
from executor.graph.validate import validate
from executor.leftovers import Leftovers, ended_folder, record_folder
from executor.messages import Finished, LogLine, Ready, Reply, Request, Run
from executor.queue.relay import relay
from executor.settings import Settings
from server.addresses import opened
from server.inputs import Inputs
from server.outbound import Outbound
from server.refusals import refusal_lines

Json = Mapping[str, object]

UI_FORM = "is a workflow as the web front end saves it; export it in the API's form (Workflow → Export (API))"
NO_ROW = 0
"""The row of what stands in no queue."""
NODES, PHASES, PROMPT = "nodes", "phases", "prompt"
NOTHING_RAN = "no node ran: all results were kept from before; with another seed in the workflow the nodes run\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to profile: the graph, where the trace goes, whether torch's operators are in it, whether it runs warm."""

    prompt: Json
    trace: Path
    operators: bool = False
    warm: bool = False


def read_workflow(path: Path) -> Json:
    """The graph of a file in the API's form, bare or as the body of POST /prompt. Raises BadInput naming the file."""
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON: {error}") from error
    if isinstance(value, dict) and isinstance(value.get("nodes"), list):
        raise BadInput(f"{path} {UI_FORM}")
    graph = value.get("prompt", value) if isinstance(value, dict) else value
    nodes = list(graph.values()) if isinstance(graph, dict) else []
    if not nodes or not all(isinstance(node, dict) and "class_type" in node for node in nodes):
        raise BadInput(f"{path} holds no workflow in the API's form: an object of nodes, each with its class_type")
    return require_object(graph, str(path))


async def profile(settings: Settings, engine: Engine, order: Order) -> None:
    """Run a workflow in a worker and have its trace written.

    Raises BadInput with a line for each thing that is wrong with it, or with what failed in its course (the trace tells
    what ran until then), and WorkerCrashed when the worker ends.
    """
    heard = Heard()
    await engine.start(heard)
    try:
        hearing = _Hearing(engine, heard)
        ready = await hearing.until(Ready)
        run = await _checked(settings, engine, ready, order.prompt)
        if order.warm:
            engine.run(hearing.worker, run)
            _require_success(await hearing.until(Finished))
            engine.free(models=False, cache=True)
        trace = str(order.trace.absolute())
        engine.run(hearing.worker, structs.replace(run, trace=trace, trace_operators=order.operators))
        _require_success(await hearing.until(Finished))
    finally:
        await engine.stop()
        await asyncio.to_thread(Leftovers(record_folder(settings), ended_folder(settings)).forget, {NO_ROW})


Told = TypeVar("Told", Ready, Finished)


class _Hearing:
    """What the worker tells: its log goes to ours, wishes of packs are refused, for there is no server."""

    def __init__(self, engine: Engine, heard: Heard) -> None:
        self._engine, self._heard = engine, heard
        self.worker = engine.workers()[0].id

    async def until(self, kind: type[Told]) -> Told:
        """Wait for a message of a kind; WorkerCrashed when the worker ends instead."""
        while True:
            worker, message = await self._heard.next()
            match message:
                case WorkerLost():
                    raise WorkerCrashed(f"the worker ended: {message.reason}")
                case LogLine():
                    relay(message)
                case Request():
                    self._engine.reply(worker, Reply(id=message.id, error="weft profile has no server"))
                case _ if isinstance(message, kind):
                    return message


async def _checked(settings: Settings, engine: Engine, ready: Ready, graph: Json) -> Run:
    """The workflow as a worker takes it, checked as POST /prompt checks it."""
    folders = Folders(settings)
    folders.create()
    folders.learn(ready.packs.folders)
    definitions = {definition.name: definition for definition in ready.definitions}

    async def ask(question: dict[str, object]) -> dict[str, object]:
        return require_object(json.loads(await engine.ask("validate", json.dumps(question).encode())), "an answer")

    outbound = Outbound(opened(settings.allow_outbound))
    inputs = Inputs(folders, outbound, most_bytes=settings.upload_bytes)
    prompt = await inputs.taken(Prompt.parse(graph, definitions), definitions)
    verdict = await validate(prompt, definitions, folders, ask=ask)
    lines = list(refusal_lines(verdict.node_errors, prompt, definitions, folders))
    if verdict.error is not None or lines:
        raise BadInput("\n".join(lines or [str(verdict.error)]))
    text = json.dumps(verdict.prompt).encode()
    return Run(job_id=f"profile-{uuid.uuid4().hex[:8]}", prompt_json=text, targets=tuple(verdict.targets), row=NO_ROW)


def _require_success(told: Finished) -> None:
    if told.state == "succeeded":
        return
    messages = json.loads(told.messages_json)
    data = messages[-1][1] if messages else {}
    where = f"node {data.get('node_id')} ({data.get('node_type')})"
    raise BadInput(f"{where}: {data.get('exception_type', told.state)}: {data.get('exception_message', '').strip()}")


# ---------------------------------------------------------------- the summary


@dataclass(slots=True)
class _Sum:
    """How often something ran and for how long."""

    calls: int = 0
    seconds: float = 0.0


def sums(trace: Json, prompt: Json) -> str:
    """What people are told of a trace of a graph: its table and what did not run, or that nothing did."""
    ended = cast("Mapping[str, object]", trace.get("weft", {})).get("state", "succeeded")
    if ended == "succeeded" and not _ran(trace):
        return NOTHING_RAN
    return f"{summary(trace)}{kept(trace, prompt)}"


def summary(trace: Json) -> str:
    """The nodes of a trace, the longest first, and its phases, as a table for people."""
    nodes: dict[str, _Sum] = defaultdict(_Sum)
    phases: dict[str, _Sum] = defaultdict(_Sum)
    whole_s = 0.0
    for event in cast("list[dict[str, Any]]", trace["traceEvents"]):
        if event["ph"] != "X" or event["cat"] not in (NODES, PHASES):
            continue
        row, seconds = event["args"]["row"], event["dur"] / 1e6
        if event["cat"] == NODES and row == PROMPT:
            whole_s += seconds
            continue
        found = (nodes if event["cat"] == NODES else phases)[row]
        found.calls += 1
        found.seconds += seconds
    by_time = sorted(nodes.items(), key=lambda item: -item[1].seconds)
    left = _Sum(1, max(0.0, whole_s - sum(node.seconds for node in nodes.values())))
    width = max(map(len, [*nodes, *phases, "between nodes"]))
    lines = [f"{'node':{width}}  calls   seconds  share\n"]
    lines += [_line(name, found, whole_s, width) for name, found in (*by_time, ("between nodes", left))]
    lines += [_line("whole prompt", _Sum(1, whole_s), whole_s, width), "\n"]
    lines += [f"{'phase (within nodes)':{width}}  calls   seconds  share\n"]
    lines += [_line(name, found, whole_s, width) for name, found in phases.items()]
    return "".join(lines)


def kept(trace: Json, prompt: Json) -> str:
    """The nodes of a graph that a trace of its whole run tells nothing of: a line, or nothing where there are none."""
    ran = _ran(trace)
    left = [node_id for node_id in prompt if node_id not in ran]
    return f"\nnot run (results kept from before, not needed, or not reached): {', '.join(left)}\n" if left else ""


def _ran(trace: Json) -> set[str]:
    events = cast("list[dict[str, Any]]", trace["traceEvents"])
    nodes = (event["args"] for event in events if event["ph"] == "X" and event["cat"] == NODES)
    return {str(node.get("node")) for node in nodes if node.get("row") != PROMPT}


def _line(name: str, found: _Sum, whole_s: float, width: int) -> str:
    share = 100 * found.seconds / whole_s if whole_s else 0.0
    return f"{name:{width}}  {found.calls:5}  {found.seconds:8.3f}  {share:4.1f}%\n"
