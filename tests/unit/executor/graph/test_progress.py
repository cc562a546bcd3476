"""Progress events of large prompts, and what reports show of values."""

import json

import numpy as np
import pytest

from executor.graph.dynamic import DynamicPrompt
from executor.graph.progress import ALWAYS_TOLD, BYTES_PER_S, INTERVAL_S, Progress
from executor.graph.report import shown, type_name
from tests.unit.executor.graph.harness import Recorder, node


class Clock:
    """A time that stands still until it is moved; calls for later wait in it."""

    def __init__(self):
        self.now_s = 0.0
        self.calls = []

    def __call__(self):
        return self.now_s

    def later(self, delay_s, call):
        waiting = _Waiting(self, self.now_s + delay_s, call)
        return waiting

    def move(self, seconds):
        self.now_s += seconds
        due, self.calls = [w for w in self.calls if w.due_s <= self.now_s], [
            w for w in self.calls if w.due_s > self.now_s
        ]  # fmt: skip
        for waiting in due:
            waiting.call()


class _Waiting:
    def __init__(self, clock, due_s, call):
        self.clock, self.due_s, self.call = clock, due_s, call

    def start(self):
        self.clock.calls.append(self)

    def cancel(self):
        if self in self.clock.calls:
            self.clock.calls.remove(self)


def made(count, clock=None, name="{}"):
    clock = clock or Clock()
    events = Recorder()
    graph = DynamicPrompt({name.format(i): node("A") for i in range(count)})
    return Progress("job", graph, events, clock, clock.later), events


def states(events):
    return events.named("progress_state")


def test_every_change_of_a_usual_prompt_is_told():
    progress, events = made(ALWAYS_TOLD)
    for i in range(ALWAYS_TOLD):
        progress.started(str(i))
        progress.finished(str(i))
    assert len(states(events)) == 2 * ALWAYS_TOLD
    assert len(states(events)[-1]["nodes"]) == ALWAYS_TOLD


def huge(clock, count=ALWAYS_TOLD + 100, name="{}"):
    progress, events = made(count, clock, name)
    for i in range(ALWAYS_TOLD):
        progress.started(name.format(i))
    clock.move(10.0)
    return progress, events


def test_a_huge_prompt_is_told_so_many_times_a_second():
    clock = Clock()
    progress, events = huge(clock)
    before = len(states(events))
    for step in range(100):
        progress.started(str(ALWAYS_TOLD + step))
        clock.move(0.01)
    assert 10 <= len(states(events)) - before <= 1 / INTERVAL_S + 1


def test_what_was_held_back_is_told_though_nothing_else_happens():
    clock = Clock()
    progress, events = huge(clock)
    progress.started(str(ALWAYS_TOLD))
    progress.started(str(ALWAYS_TOLD + 1))
    assert str(ALWAYS_TOLD + 1) not in states(events)[-1]["nodes"]
    clock.move(INTERVAL_S)
    assert str(ALWAYS_TOLD + 1) in states(events)[-1]["nodes"]
    told = len(states(events))
    clock.move(10.0)
    assert len(states(events)) == told


def test_large_messages_keep_to_a_number_of_bytes_a_second():
    clock = Clock()
    progress, events = huge(clock, 3000, "n" * 200 + "{}")
    before = len(states(events))
    for i in range(ALWAYS_TOLD, 3000):
        progress.started("n" * 200 + str(i))
        clock.move(0.01)
    sent = sum(len(json.dumps(state)) for state in states(events)[before:])
    largest = len(json.dumps(states(events)[-1]))
    assert sent <= clock.now_s * BYTES_PER_S + largest


def test_the_last_state_is_told_at_the_end_and_once():
    clock = Clock()
    progress, events = huge(clock)
    for i in range(ALWAYS_TOLD + 50):
        progress.started(str(i))
        progress.finished(str(i))
    progress.close()
    progress.close()
    told = len(states(events))
    assert {state["state"] for state in states(events)[-1]["nodes"].values()} == {"finished"}
    clock.move(10.0)
    assert len(states(events)) == told


def test_numbers_of_other_kinds_are_told_as_numbers():
    progress, events = made(1)
    progress.set("0", np.float32(0.5), 2, None)
    assert states(events)[-1]["nodes"]["0"]["value"] == 0.5


def test_finished_nodes_keep_their_number_of_steps():
    progress, events = made(1)
    progress.advance("0", 3, 20, None)
    progress.finished("0")
    state = events.named("progress_state")[-1]["nodes"]["0"]
    assert (state["value"], state["max"], state["state"]) == (20, 20, "finished")


def test_set_tells_no_single_step():
    progress, events = made(1)
    progress.set("0", 3, 20, None)
    assert [name for name, _ in events.log] == ["progress_state"]


def test_text_is_passed_on():
    progress, events = made(1)
    progress.text("0", "hello")
    assert events.log == [("text", ("0", "hello"))]


class Array:
    shape, dtype = (2, 3), "float32"


class Broken:
    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None), (True, True), (3, 3), (0.5, 0.5), ("a", "a"), ([1], "[1]"), (Array(), "Array (2, 3) float32"),
        (Broken(), "<Broken>"), (["x" * 5000], "['" + "x" * 1998 + "..."),
    ],
)  # fmt: skip
def test_values_in_reports(value, text):
    assert shown(value) == text


def test_builtin_exceptions_stand_bare_and_others_with_their_module():
    assert type_name(ValueError()) == "ValueError"
    assert type_name(type("Odd", (Exception,), {"__module__": "pack.errors"})()) == "pack.errors.Odd"


class Follows:
    def __init__(self):
        self.heard = []

    def __getattr__(self, name):
        return lambda *told: self.heard.append((name, *told))


def test_followers_hear_of_every_change_in_order():
    progress, _ = made(1)
    follower = Follows()
    progress.followers.append(follower)
    progress.started("0")
    progress.advance("0", 3, 2, None)
    progress.set("0", 1, 2, None)
    progress.finished("0")
    progress.close()
    assert follower.heard == [
        ("started", "0"), ("stepped", "0", 2, 2, None), ("stepped", "0", 1, 2, None), ("finished", "0", 2), ("ended",),
    ]  # fmt: skip
