"""How far each node of a running prompt is, and the events that tell it. Knows no transport.

Shapes: reference/http_api.md section 6. Every change tells of all nodes so far; in prompts of hundreds of nodes such
messages are thinned out to a few per second, since their sizes would add up to the square of the number.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from executor.context import Preview
from executor.graph.dynamic import DynamicPrompt

Json = dict[str, object]

Audience = Literal["owner", "owner_or_all", "all"]

ALWAYS_TOLD = 200
"""Up to so many nodes every change is told at once."""
INTERVAL_S = 0.2
"""Seconds between messages beyond that."""


class Events(Protocol):
    """Where the events of a running prompt go."""

    def emit(self, event: str, data: Mapping[str, object], audience: Audience) -> None:
        """Send an event; `data` is JSON data and is not changed afterwards."""
        ...

    def preview(self, node_id: str, preview: Preview, metadata: Mapping[str, object]) -> None:
        """Send a picture of a node's work so far."""
        ...

    def text(self, node_id: str, message: str) -> None:
        """Send a line of text that belongs to a node."""
        ...


@dataclass(slots=True)
class Progress:
    """The states of a prompt's nodes; takes steps from any thread."""

    job_id: str
    graph: DynamicPrompt
    events: Events
    clock: Callable[[], float] = time.monotonic
    _nodes: dict[str, Json] = field(default_factory=dict)
    _told_at: float = float("-inf")
    _untold: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def started(self, node_id: str) -> None:
        """A node begins, or begins again."""
        self._change(node_id, "running", 0.0, 1.0)

    def finished(self, node_id: str) -> None:
        """A node has its result."""
        total = self._nodes[node_id]["max"] if node_id in self._nodes else 1.0
        self._change(node_id, "finished", total, total)

    def advance(self, node_id: str, value: float, total: float, preview: Preview | None) -> None:
        """A node did `value` of `total` steps: state, step and picture are told in this order."""
        value = min(value, total)
        self._change(node_id, "running", value, total)
        step: Json = {"value": value, "max": total, "prompt_id": self.job_id, "node": node_id}
        self.events.emit("progress", step, "owner_or_all")
        if preview is not None:
            self.events.preview(node_id, preview, self.place(node_id))

    def set(self, node_id: str, value: float, total: float, preview: Preview | None) -> None:
        """The same as `advance`, without the event of the single step."""
        self._change(node_id, "running", min(value, total), total)
        if preview is not None:
            self.events.preview(node_id, preview, self.place(node_id))

    def text(self, node_id: str, message: str) -> None:
        """Show a line of text at a node."""
        self.events.text(node_id, message)

    def flush(self) -> None:
        """Tell what was held back."""
        with self._lock:
            if self._untold:
                self._tell()

    def place(self, node_id: str) -> Json:
        """Where a node belongs: the ids that every message about it carries."""
        return {
            "node_id": node_id,
            "prompt_id": self.job_id,
            "display_node_id": self.graph.get_display_node_id(node_id),
            "parent_node_id": self.graph.get_parent_node_id(node_id),
            "real_node_id": self.graph.get_real_node_id(node_id),
        }

    def _change(self, node_id: str, state: str, value: object, total: object) -> None:
        with self._lock:
            self._nodes[node_id] = {"value": value, "max": total, "state": state, **self.place(node_id)}
            if len(self._nodes) <= ALWAYS_TOLD or self.clock() - self._told_at >= INTERVAL_S:
                self._tell()
            else:
                self._untold = True

    def _tell(self) -> None:
        self._told_at, self._untold = self.clock(), False
        self.events.emit("progress_state", {"prompt_id": self.job_id, "nodes": dict(self._nodes)}, "owner_or_all")
