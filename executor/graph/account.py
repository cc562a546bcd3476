"""What is told of a running prompt: events to clients, messages and outputs for the history. Runs nothing.

Shapes: reference/http_api.md section 6; who hears what: reference/execution.md section 11.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from executor.graph import report
from executor.graph.behind import Behind, outcome
from executor.graph.cache import Entry, Shown
from executor.graph.dynamic import DynamicPrompt
from executor.graph.inputs import Items
from executor.graph.progress import Events, Progress

log = logging.getLogger("weft.graph")

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """The end of a prompt, in the shapes of /history. The last of `messages` has not been emitted."""

    state: Literal["succeeded", "failed", "interrupted"]
    outputs: Json
    meta: Json
    messages: list[list[object]]
    nodes: list[tuple[str, float]] = field(default_factory=list)  # (class, seconds) of each that ran
    reused: int = 0
    rest: Rest | None = None  # what goes on: this is no end yet


@dataclass(slots=True)
class Account:
    """The events and the history of one prompt. The end is only noted: the front tells it once it is stored."""

    job_id: str
    graph: DynamicPrompt
    events: Events
    messages: list[list[object]] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    shown: dict[str, Shown] = field(default_factory=dict)
    reused: int = 0  # results that the cache had
    seconds: list[tuple[str, float]] = field(default_factory=list)  # of each node that ran, with its class
    _inner: dict[str, list[Shown]] = field(default_factory=dict)  # ui of an expansion's nodes, by who expanded

    # ---------------------------------------------------------------- the prompt

    def started(self) -> None:
        """The prompt begins."""
        self._tell("execution_start", {"prompt_id": self.job_id, "timestamp": report.now_ms()})

    def cached(self, entries: Mapping[str, Entry]) -> None:
        """These nodes have results already; their ui belongs to this prompt's outputs too."""
        for node_id, entry in entries.items():
            self._show(node_id, entry)
        self.reused = len(entries)
        data: Json = {"nodes": list(entries), "prompt_id": self.job_id, "timestamp": report.now_ms()}
        self._tell("execution_cached", data)

    def succeeded(self) -> None:
        """Everything ran."""
        self._end("execution_success", {"prompt_id": self.job_id, "timestamp": report.now_ms()})

    def interrupted(self, node_id: str) -> None:
        """The user stopped the prompt at this node."""
        self._end("execution_interrupted", report.execution_interrupted(self._place(node_id)))

    def failed(self, node_id: str, failure: BaseException, inputs: Mapping[str, Items], tip: str) -> None:
        """A node failed with these inputs."""
        known = self.graph.original_prompt
        data = report.execution_error(failure, self._place(node_id), inputs=inputs, outputs=known, tip=tip)
        self._end("execution_error", data)

    def result(self, state: Literal["succeeded", "failed", "interrupted"]) -> RunResult:
        """What came of the prompt."""
        return RunResult(
            state=state,
            outputs={node_id: item.ui for node_id, item in self.shown.items()},
            meta={node_id: item.meta for node_id, item in self.shown.items()},
            messages=self.messages,
            nodes=self.seconds,
            reused=self.reused,
        )

    # ---------------------------------------------------------------- nodes

    def executing(self, node_id: str) -> None:
        """A node begins."""
        self.events.emit("executing", self._about(node_id), "owner")

    def blocked(self, node_id: str, message: str) -> None:
        """A node was not called because of a blocker; the prompt goes on."""
        place = self._place(node_id)
        place["node_id"], place["node_type"] = node_id, self.graph.class_type(node_id)
        self.events.emit("execution_error", report.execution_blocked(message, place), "owner_or_all")

    def made(self, node_id: str, ui: dict[str, object]) -> dict[str, object]:
        """A node made ui output; returns it as the JSON data that is told and kept."""
        ui = _as_json(ui, self.graph.class_type(node_id))
        self._record(node_id, ui)
        self._tell_executed(node_id, ui)
        return ui

    def resent(self, node_id: str, entry: Entry) -> None:
        """A node's earlier result stands for it: its ui, if any, is told again."""
        self._show(node_id, entry)
        self._tell_executed(node_id, entry.ui)

    def shared(self, node_id: str, entry: Entry) -> None:
        """A node ran together with an equal one, whose result is its own."""
        self._show(node_id, entry)
        if entry.ui is not None:
            self._tell_executed(node_id, entry.ui)

    def inner(self, node_id: str) -> Sequence[Shown]:
        """The ui of the nodes that an expansion of this node put in; it grows while they run."""
        return self._inner.setdefault(node_id, [])

    # ---------------------------------------------------------------- inside

    def _tell(self, event: str, data: Json) -> None:
        self.messages.append([event, data])
        self.events.emit(event, data, "owner")

    def _end(self, event: str, data: Json) -> None:
        self.messages.append([event, data])

    def _tell_executed(self, node_id: str, ui: Mapping[str, object] | None) -> None:
        self.events.emit("executed", self._about(node_id) | {"output": ui}, "owner")

    def _show(self, node_id: str, entry: Entry) -> None:
        if entry.ui is not None:
            self._record(node_id, entry.ui)
        for item in entry.inner:
            self.shown[item.node_id] = item

    def _record(self, node_id: str, ui: Mapping[str, object]) -> None:
        """Note a node's ui, also with every node that it is an expansion of."""
        meta = {
            "node_id": node_id,
            "display_node": self.graph.get_display_node_id(node_id),
            "parent_node": self.graph.get_parent_node_id(node_id),
            "real_node_id": self.graph.get_real_node_id(node_id),
        }
        item = self.shown[node_id] = Shown(node_id=node_id, ui=ui, meta=meta)
        parent = self.graph.get_parent_node_id(node_id)
        while parent is not None:
            self._inner.setdefault(parent, []).append(item)
            parent = self.graph.get_parent_node_id(parent)

    def _about(self, node_id: str) -> Json:
        return {
            "node": node_id,
            "display_node": self.graph.get_display_node_id(node_id),
            "prompt_id": self.job_id,
        }

    def _place(self, node_id: str) -> report.Place:
        """The submitted node that an end is told of."""
        real = self.graph.get_real_node_id(node_id)
        return {
            "prompt_id": self.job_id,
            "node_id": real,
            "node_type": self.graph.class_type(real) if self.graph.has_node(real) else "",
            "executed": self.executed,
        }


class Rest:
    """What a prompt of which every node has run still waits for: files that are being written."""

    def __init__(self, account: Account, progress: Progress, behind: Behind) -> None:
        self.behind = behind
        self._account, self._progress, self._left = account, progress, behind.left()

    def finish(self) -> RunResult:
        """Wait for all of it, and tell the end; called once, on any thread."""
        failed = outcome(self._left)
        if failed is None:
            self._account.succeeded()
        else:
            log.error("the prompt failed at node %s", failed.node_id, exc_info=failed.cause)
            self._account.failed(failed.node_id, failed.cause, {}, "")
        self._progress.close()
        return self._account.result("succeeded" if failed is None else "failed")


def _as_json(ui: dict[str, object], name: str) -> dict[str, object]:
    """A ui that can be sent and stored: what is no JSON data in it becomes text."""
    try:
        json.dumps(ui)
    except (TypeError, ValueError):
        log.warning("%s: its ui output is no JSON data; what is not becomes text", name)
        cleaned: dict[str, object] = json.loads(json.dumps(ui, default=report.shown, skipkeys=True))
        return cleaned
    return ui
