"""How far each node of a running prompt is, and the events that tell it. Knows no transport.

Shapes: reference/http_api.md section 6. Every change tells of all nodes so far, which adds up to the square of their
number. So up to `ALWAYS_TOLD` nodes every change is told at once; beyond that, changes are told together, at most
`1 / INTERVAL_S` times a second and `BYTES_PER_S` on average, and the last state always before the prompt's end.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from executor.context import Preview, ProgressSink
from executor.graph.dynamic import DynamicPrompt

Json = dict[str, object]

Audience = Literal["owner", "owner_or_all", "all"]

ALWAYS_TOLD = 64
"""Up to so many started nodes every change is told at once."""
INTERVAL_S = 0.05
"""Least seconds between messages beyond that."""
BYTES_PER_S = 1 << 20
"""Bytes of such messages per second: a larger message makes a longer pause."""


class Events(Protocol):
    """Where the events of a running prompt go."""

    def emit(self, event: str, data: Mapping[str, object], audience: Audience) -> None:
        """Send an event; `data` is JSON data and is not changed afterwards."""
        ...

    def emit_json(self, event: str, text: str, audience: Audience) -> None:
        """Send an event whose data is JSON text already."""
        ...

    def preview(
        self, node_id: str, preview: Preview, metadata: Mapping[str, object], step: Mapping[str, object] | None = None
    ) -> None:
        """Send a picture of a node's work so far; `step` is the data of the `progress` event that it belongs to.

        That event goes with it, for its place depends on the client: after a picture with metadata, before a plain one.
        """
        ...

    def text(self, node_id: str, message: str) -> None:
        """Send a line of text that belongs to a node."""
        ...

    def follow(self, sink: ProgressSink) -> None:
        """A prompt begins whose nodes tell their steps to `sink`: for threads of theirs, which no context reaches."""
        ...


class Follower(Protocol):
    """Who wants to know of every node's progress, beside the clients."""

    def started(self, node_id: str) -> None:
        """A node begins."""
        ...

    def stepped(self, node_id: str, value: float, total: float, preview: Preview | None) -> None:
        """A node is so far; it may end the prompt by raising Interrupted."""
        ...

    def finished(self, node_id: str, total: float) -> None:
        """A node has its result."""
        ...

    def ended(self) -> None:
        """The prompt is over."""
        ...


class Waiting(Protocol):
    """A call that is to come, which can be called off (`threading.Timer` is one)."""

    def start(self) -> None:
        """Begin to wait."""
        ...

    def cancel(self) -> None:
        """Call it off."""
        ...


def later(delay_s: float, call: Callable[[], None]) -> Waiting:
    """A call on a thread of its own after a delay; it keeps no process alive."""
    timer = threading.Timer(delay_s, call)
    timer.daemon = True
    return timer


class State(NamedTuple):
    """How far one node is: `running` or `finished`, and the steps it told."""

    state: str
    value: float
    total: float


@dataclass(slots=True)
class Progress:
    """The states of a prompt's nodes; takes steps from any thread."""

    job_id: str
    graph: DynamicPrompt
    events: Events
    clock: Callable[[], float] = time.monotonic
    later: Callable[[float, Callable[[], None]], Waiting] = later
    followers: list[Follower] = field(default_factory=list)
    _states: dict[str, State] = field(default_factory=dict)
    _changed: dict[str, None] = field(default_factory=dict)  # nodes whose text is older than their state
    _texts: dict[str, str] = field(default_factory=dict)  # each node's member of the message, as JSON text
    _places: dict[str, str] = field(default_factory=dict)  # the part of it that never changes
    _next_s: float = float("-inf")  # when a message may be told again
    _waiting: Waiting | None = None  # what will tell the changes that were held back
    _closed: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _head: str = ""  # of every message

    def __post_init__(self) -> None:
        self._head = f'{{"prompt_id": {json.dumps(self.job_id)}, "nodes": {{'

    def started(self, node_id: str) -> None:
        """A node begins, or begins again."""
        self._change(node_id, "running", 0.0, 1.0)
        for follower in tuple(self.followers):
            follower.started(node_id)

    def finished(self, node_id: str) -> None:
        """A node has its result."""
        known = self._states.get(node_id)
        total = known.total if known is not None else 1.0
        self._change(node_id, "finished", total, total)
        for follower in tuple(self.followers):
            follower.finished(node_id, total)

    def advance(self, node_id: str, value: float, total: float, preview: Preview | None) -> None:
        """A node did `value` of `total` steps: the state is told, then step and picture."""
        value = min(value, total)
        self._step(node_id, value, total, preview)
        step: Json = {"value": value, "max": total, "prompt_id": self.job_id, "node": node_id}
        if preview is None:
            self.events.emit("progress", step, "owner_or_all")
        else:
            self.events.preview(node_id, preview, self.place(node_id), step)

    def set(self, node_id: str, value: float, total: float, preview: Preview | None) -> None:
        """The same as `advance`, without the event of the single step."""
        self._step(node_id, min(value, total), total, preview)
        if preview is not None:
            self.events.preview(node_id, preview, self.place(node_id))

    def text(self, node_id: str, message: str) -> None:
        """Show a line of text at a node."""
        self.events.text(node_id, message)

    def states(self) -> dict[str, State]:
        """How far every node is that has begun."""
        with self._lock:
            return dict(self._states)

    def close(self) -> None:
        """Tell what was held back; nothing is held back from here on."""
        with self._lock:
            self._closed = True
            if self._waiting is not None:
                self._tell()
        for follower in tuple(self.followers):
            follower.ended()

    def place(self, node_id: str) -> Json:
        """Where a node belongs: the ids that every message about it carries."""
        return {
            "node_id": node_id,
            "prompt_id": self.job_id,
            "display_node_id": self.graph.get_display_node_id(node_id),
            "parent_node_id": self.graph.get_parent_node_id(node_id),
            "real_node_id": self.graph.get_real_node_id(node_id),
        }

    def _step(self, node_id: str, value: float, total: float, preview: Preview | None) -> None:
        self._change(node_id, "running", value, total)
        for follower in tuple(self.followers):
            follower.stepped(node_id, value, total, preview)

    def _change(self, node_id: str, state: str, value: float, total: float) -> None:
        with self._lock:
            self._states[node_id] = State(state, _plain(value), _plain(total))
            self._changed[node_id] = None
            if len(self._states) <= ALWAYS_TOLD or self._closed:
                self._tell()
            elif self._waiting is None:
                self._tell_soon()

    def _tell_soon(self) -> None:
        pause_s = self._next_s - self.clock()
        if pause_s <= 0:
            self._tell()
        else:
            self._waiting = self.later(pause_s, self._tell_waiting)
            self._waiting.start()

    def _tell_waiting(self) -> None:
        with self._lock:
            if self._waiting is not None:
                self._tell()

    def _tell(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        for node_id in self._changed:
            self._texts[node_id] = self._text(node_id, self._states[node_id])
        self._changed.clear()
        text = f"{self._head}{', '.join(self._texts.values())}}}}}"
        self._next_s = self.clock() + max(INTERVAL_S, len(text) / BYTES_PER_S)
        self.events.emit_json("progress_state", text, "owner_or_all")

    def _text(self, node_id: str, state: State) -> str:
        place = self._places.get(node_id)
        if place is None:
            whole = json.dumps({node_id: self.place(node_id)})
            place = self._places[node_id] = whole[1:-2]  # open at its end
        numbers = f'"value": {_number(state.value)}, "max": {_number(state.total)}'
        return f'{place}, "state": "{state.state}", {numbers}}}'


def _plain(number: float) -> float:
    """A number that JSON knows: packs also tell NumPy's."""
    return number if type(number) in (int, float) else float(number)


def _number(number: float) -> str:
    """A plain number as JSON text, as json.dumps writes it; asked for at every step."""
    return repr(number) if type(number) is int or math.isfinite(number) else json.dumps(number)
