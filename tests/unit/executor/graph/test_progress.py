"""Progress events of large prompts, and what reports show of values."""

import pytest

from executor.graph.dynamic import DynamicPrompt
from executor.graph.progress import ALWAYS_TOLD, INTERVAL_S, Progress
from executor.graph.report import shown, type_name
from tests.unit.executor.graph.harness import Recorder, node


def made(count, clock):
    events = Recorder()
    graph = DynamicPrompt({str(i): node("A") for i in range(count)})
    return Progress("job", graph, events, clock), events


def test_every_change_of_a_usual_prompt_is_told():
    progress, events = made(10, lambda: 0.0)
    for i in range(10):
        progress.started(str(i))
    assert len(events.log) == 10


def test_a_huge_prompt_is_told_now_and_then_and_at_the_end():
    now = [0.0]
    progress, events = made(ALWAYS_TOLD + 100, lambda: now[0])
    for i in range(ALWAYS_TOLD + 50):
        progress.started(str(i))
    assert len(events.log) == ALWAYS_TOLD
    now[0] += INTERVAL_S
    progress.started(str(ALWAYS_TOLD + 60))
    assert len(events.log) == ALWAYS_TOLD + 1
    progress.finished("0")
    progress.flush()
    progress.flush()
    assert len(events.log) == ALWAYS_TOLD + 2
    assert events.named("progress_state")[-1]["nodes"]["0"]["state"] == "finished"


def test_finished_nodes_keep_their_number_of_steps():
    progress, events = made(1, lambda: 0.0)
    progress.advance("0", 3, 20, None)
    progress.finished("0")
    state = events.named("progress_state")[-1]["nodes"]["0"]
    assert (state["value"], state["max"], state["state"]) == (20, 20, "finished")


def test_set_tells_no_single_step():
    progress, events = made(1, lambda: 0.0)
    progress.set("0", 3, 20, None)
    assert [name for name, _ in events.log] == ["progress_state"]


def test_text_is_passed_on():
    progress, events = made(1, lambda: 0.0)
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
