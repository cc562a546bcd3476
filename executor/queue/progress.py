"""How far a running job is and how long it may still take, from what its worker tells. Knows no worker and no socket.

What is told is only kept; it is read when somebody asks, so that a job nobody follows costs nothing. Times that nodes
of a class took before weigh the nodes to come; where a class has none, all nodes weigh alike.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from executor.queue.job import Job

MOST_CLASSES = 2000
LARGE_BYTES = 256 << 10  # prompts beyond this teach nothing about the pace of classes
NEWEST_WEIGHT = 0.5  # of the newest time of a class in its mean

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A running job at one moment; None where nothing is known."""

    percent: float = 0.0
    node_id: str | None = None
    title: str | None = None
    class_type: str | None = None
    step: float | None = None
    steps: float | None = None
    seconds_left: float | None = None


class Paces:
    """Seconds that nodes of each class took, the newest weighing most; the classes used last are kept."""

    def __init__(self) -> None:
        self._seconds: OrderedDict[str, float] = OrderedDict()

    def note(self, class_type: str, seconds: float) -> None:
        """A node of a class took so long."""
        known = self._seconds.pop(class_type, seconds)
        self._seconds[class_type] = known + NEWEST_WEIGHT * (seconds - known)
        if len(self._seconds) > MOST_CLASSES:
            self._seconds.popitem(last=False)

    def of(self, class_type: str) -> float | None:
        """How long a node of a class is likely to take, None for one that never ran."""
        return self._seconds.get(class_type)


@dataclass(slots=True, kw_only=True)
class Follow:
    """What was told of one running job; `node_id` is the node it told last."""

    job: Job
    paces: Paces
    clock: Callable[[], float] = time.monotonic
    node_id: str | None = None
    _began_s: float = 0.0
    _cached_json: bytes = b"{}"
    _step_json: bytes = b"{}"
    _states_json: bytes = b"{}"
    _made_json: list[bytes] = field(default_factory=list)
    _graph: dict[str, Json] | None = None
    _needed: frozenset[str] | None = None
    _shown: float = field(default=0.0)  # percent: it never goes back

    def hear(self, event: str, data_json: bytes) -> None:
        """Take in an event of the job."""
        match event:
            case "executing":
                self._begin(told_node(data_json))
            case "progress":
                self._step_json = data_json
            case "progress_state":
                self._states_json = data_json
            case "execution_cached":
                self._cached_json = data_json
            case "executed":
                self._made_json.append(data_json)

    def ended(self) -> None:
        """The job is over: its last node is, too."""
        self._note_pace(self.clock())

    def node(self) -> dict[str, str]:
        """The node it told last, as results name it."""
        return {"node_id": self.node_id or "", "node_type": self._class_of(self.node_id) or ""}

    def _begin(self, node_id: str | None) -> None:
        now_s = self.clock()
        self._note_pace(now_s)
        self.node_id, self._began_s, self._step_json = node_id, now_s, b"{}"

    def _note_pace(self, now_s: float) -> None:
        if len(self.job.prompt_json) > LARGE_BYTES:  # reading it for the classes would cost more than it tells
            return
        class_type = self._class_of(self.node_id)
        if class_type is not None:
            self.paces.note(class_type, now_s - self._began_s)

    # ---------------------------------------------------------------- when somebody asks

    def over(self) -> set[str]:
        """The nodes that were over, as far as was told."""
        return self._done().union(str(told.get("node")) for told in map(_object, self._made_json))

    def made(self) -> tuple[Json, Json]:
        """What nodes told of their results so far: outputs and meta as the history has them."""
        outputs: Json = {}
        meta: Json = {}
        for told in map(_object, self._made_json):
            node_id, output = told.get("node"), told.get("output")
            if isinstance(node_id, str) and isinstance(output, dict):
                outputs[node_id] = output
                place = self._place_of(node_id)
                shown = told.get("display_node", node_id)
                meta[node_id] = {
                    "node_id": node_id,
                    "display_node": shown,
                    "parent_node": None if place == node_id else place,
                    "real_node_id": place or node_id,
                }
        return outputs, meta

    def view(self) -> Progress:
        """How far the job is now."""
        step, steps = self._step()
        share = min(1.0, step / steps) if step is not None and steps else 0.0
        weights = self._weights(share)
        done = self._done() & weights.keys()
        total = sum(weights.values())
        reached = sum(weights[node_id] for node_id in done)
        place = self._place()
        if place in weights and place not in done:
            reached += weights[place] * share
        percent = 100.0 * reached / total if total else 0.0
        self._shown = max(self._shown, min(100.0, percent))
        return Progress(
            percent=round(self._shown, 1),
            node_id=self.node_id,
            title=self._title(),
            class_type=self._class_of(self.node_id),
            step=step,
            steps=steps,
            seconds_left=self._seconds_left(weights, done, share),
        )

    def _seconds_left(self, weights: Mapping[str, float], done: set[str], share: float) -> float | None:
        """From the pace of the current node's steps, and from what nodes of the same classes took before."""
        to_come = [self.paces.of(self._class_of(node_id) or "") for node_id in weights.keys() - done - {self._place()}]
        known = [seconds for seconds in to_come if seconds is not None]
        usual = self.paces.of(self._class_of(self.node_id) or "")
        spent_s = self.clock() - self._began_s
        if self.node_id is not None and share > 0.0:
            here: float | None = spent_s * (1.0 - share) / share
        elif self.node_id is not None and usual is not None:
            here = max(0.0, usual - spent_s)
        else:
            here = None
        if here is None and len(known) < max(1, len(to_come)):
            return None
        return round((here or 0.0) + sum(known), 1)

    def _step(self) -> tuple[float | None, float | None]:
        told = _object(self._step_json)
        step, steps = told.get("value"), told.get("max")
        if told.get("node") == self.node_id and _is_number(step) and _is_number(steps):
            return step, steps  # type: ignore[return-value]  # they were looked at
        return None, None

    def _done(self) -> set[str]:
        cached = _object(self._cached_json).get("nodes")
        states = _object(self._states_json).get("nodes")
        done = {node_id for node_id in cached if isinstance(node_id, str)} if isinstance(cached, list) else set()
        for node_id, told in states.items() if isinstance(states, dict) else ():
            if isinstance(told, dict) and told.get("state") == "finished":
                done.add(node_id)
        return done

    def _weights(self, share: float) -> dict[str, float]:
        """What each node that the job needs weighs: its usual seconds, or 1 each where one has none.

        The current one, of which `share` is done, weighs what it will take at the pace of its steps.
        """
        seconds = {node_id: self.paces.of(self._class_of(node_id) or "") for node_id in self._nodes()}
        place = self._place()
        if place in seconds and share > 0.0:
            seconds[place] = (self.clock() - self._began_s) / share
        known = {node_id: max(0.001, value) for node_id, value in seconds.items() if value is not None}
        return known if len(known) == len(seconds) else dict.fromkeys(seconds, 1.0)

    def _nodes(self) -> frozenset[str]:
        """The nodes that the job's targets need, themselves included."""
        if self._needed is None:
            graph, found, open_nodes = self._prompt(), set[str](), list(self.job.targets)
            while open_nodes:
                node_id = open_nodes.pop()
                if node_id in graph and node_id not in found:
                    found.add(node_id)
                    inputs = graph[node_id].get("inputs")
                    values = inputs.values() if isinstance(inputs, dict) else ()
                    open_nodes += [str(value[0]) for value in values if isinstance(value, list) and len(value) == 2]
            self._needed = frozenset(found)
        return self._needed

    def _prompt(self) -> dict[str, Json]:
        if self._graph is None:
            self._graph = json.loads(self.job.prompt_json)
        return self._graph

    def _place(self) -> str | None:
        """The submitted node that the current one belongs to."""
        return None if self.node_id is None else self._place_of(self.node_id)

    def _place_of(self, node_id: str) -> str | None:
        if node_id in self._prompt():
            return node_id
        told = _object(self._states_json).get("nodes")
        state = told.get(node_id) if isinstance(told, dict) else None
        real = state.get("real_node_id") if isinstance(state, dict) else None
        return real if isinstance(real, str) else None

    def _class_of(self, node_id: str | None) -> str | None:
        if node_id is None:
            return None
        class_type = self._prompt().get(node_id, {}).get("class_type")
        return class_type if isinstance(class_type, str) else None

    def _title(self) -> str | None:
        place = self._place()
        if place is None:
            return None
        meta = self._prompt().get(place, {}).get("_meta")
        title = meta.get("title") if isinstance(meta, dict) else None
        return str(title) if title else self._class_of(place)


class _Executing(msgspec.Struct):
    """What counts of an `executing` event."""

    node: object = None


_EXECUTING = msgspec.json.Decoder(_Executing)


def told_node(data_json: bytes) -> str | None:
    """The node that an `executing` event names; a pack may send any data under that name."""
    try:
        node = _EXECUTING.decode(data_json).node
    except msgspec.MsgspecError:  # no object, or what json.dumps writes beyond JSON
        node = _object(data_json).get("node")
    return node if isinstance(node, str) else None


def _object(text: bytes) -> Json:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
