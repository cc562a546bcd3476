"""How far a running job is, from what its worker told."""

from __future__ import annotations

import json

import pytest

from executor.queue import progress
from executor.queue.job import make_job
from executor.queue.progress import Follow, Paces, told_node

GRAPH = {
    "1": {"class_type": "Load", "inputs": {}},
    "2": {"class_type": "Sample", "inputs": {"model": ["1", 0], "size": [1, 2, 3]}, "_meta": {"title": "My sampler"}},
    "3": {"class_type": "Save", "inputs": {"images": ["2", 0]}},
    "9": {"class_type": "Save", "inputs": {}},
}


class Stage:
    """A job that is followed by a clock of its own."""

    def __init__(self, paces: Paces | None = None) -> None:
        self.now_s = 100.0
        job = make_job(prompt_id="p", number=0, prompt=GRAPH, targets=["3"])
        self.paces = paces or Paces()
        self.follow = Follow(job=job, paces=self.paces, clock=lambda: self.now_s)

    def tell(self, event: str, **data: object) -> None:
        self.follow.hear(event, json.dumps(data).encode())

    def begin(self, node: str, *finished: str) -> None:
        self.tell("progress_state", nodes={node_id: {"state": "finished"} for node_id in finished})
        self.tell("executing", node=node)

    def run(self, **seconds: float) -> None:
        """Run all nodes, each for so long."""
        for node_id, name in (("1", "Load"), ("2", "Sample"), ("3", "Save")):
            self.tell("executing", node=node_id)
            self.now_s += seconds[name]
        self.follow.ended()


def test_nothing_told_is_nothing_known():
    view = Stage().follow.view()
    assert (view.percent, view.node_id, view.step, view.seconds_left) == (0.0, None, None, None)


def test_nodes_that_are_not_needed_do_not_count():
    stage = Stage()
    stage.begin("2", "1")
    assert stage.follow.view().percent == pytest.approx(33.3)


def test_steps_count_as_parts_of_their_node():
    stage = Stage()
    stage.begin("2", "1")
    stage.tell("progress", value=5, max=10, node="2", prompt_id="p")
    view = stage.follow.view()
    assert (view.percent, view.step, view.steps, view.title) == (50.0, 5, 10, "My sampler")


def test_cached_nodes_are_done():
    stage = Stage()
    stage.tell("execution_cached", nodes=["1", "2"])
    assert stage.follow.view().percent == pytest.approx(66.7)


def test_steps_of_another_node_are_not_the_current_one_s():
    stage = Stage()
    stage.begin("2", "1")
    stage.tell("progress", value=5, max=10, node="1", prompt_id="p")
    assert stage.follow.view().step is None


def test_the_pace_of_the_steps_tells_the_time_left():
    stage = Stage(Paces())
    stage.begin("2", "1")
    stage.now_s += 4.0
    stage.tell("progress", value=2, max=10, node="2", prompt_id="p")
    assert stage.follow.view().seconds_left == pytest.approx(16.0)


def test_what_nodes_took_before_weighs_and_times_those_to_come():
    first = Stage()
    first.run(Load=1.0, Sample=8.0, Save=1.0)
    second = Stage(first.paces)
    second.begin("2", "1")
    assert (second.follow.view().percent, second.follow.view().seconds_left) == (10.0, 9.0)
    second.now_s += 2.0
    second.tell("progress", value=1, max=4, node="2", prompt_id="p")
    assert (second.follow.view().percent, second.follow.view().seconds_left) == (30.0, 7.0)


def test_percent_never_goes_back():
    stage = Stage()
    stage.begin("3", "1", "2")
    before = stage.follow.view().percent
    stage.tell("progress_state", nodes={})
    assert stage.follow.view().percent == before


def test_a_node_of_an_expansion_shows_the_node_it_came_from():
    stage = Stage()
    stage.tell("progress_state", nodes={"2.0.0.1": {"state": "running", "real_node_id": "2"}})
    stage.tell("executing", node="2.0.0.1")
    view = stage.follow.view()
    assert (view.node_id, view.title, view.class_type) == ("2.0.0.1", "My sampler", None)


@pytest.mark.parametrize("data", [b"[1]", b'"x"', b'{"node": 5}', b"{}"])
def test_odd_data_of_packs_is_harmless(data: bytes):
    stage = Stage()
    for event in ("executing", "progress", "progress_state", "execution_cached"):
        stage.follow.hear(event, data)
    assert stage.follow.view().node_id is None


def test_the_newest_time_weighs_most_and_old_classes_are_forgotten(monkeypatch):
    monkeypatch.setattr(progress, "MOST_CLASSES", 2)
    paces = Paces()
    for class_type, seconds in (("a", 1.0), ("b", 4.0), ("b", 2.0), ("c", 1.0)):
        paces.note(class_type, seconds)
    assert (paces.of("a"), paces.of("b"), paces.of("c")) == (None, 3.0, 1.0)


@pytest.mark.parametrize(
    ("data", "node"),
    [
        ({"node": "1", "prompt_id": "p"}, "1"),
        ({"node": None}, None),
        ({"node": 1}, None),
        ({}, None),
        (["node"], None),
        ({"node": "1", "more": float("nan")}, "1"),
        ({"node": "\ud800", "more": 2**70}, "\ud800"),
    ],
)
def test_an_executing_event_names_a_node_whatever_else_it_says(data, node):
    assert told_node(json.dumps(data).encode()) == node


def test_what_nodes_made_is_known_as_the_history_has_it():
    stage = Stage()
    stage.tell("executing", node="2")
    stage.tell("executed", node="2", display_node="2", output={"images": []})
    stage.tell("executed", node="3", display_node="3", output=None)
    assert stage.follow.made() == (
        {"2": {"images": []}},
        {"2": {"node_id": "2", "display_node": "2", "parent_node": None, "real_node_id": "2"}},
    )


def test_nodes_are_over_that_told_a_result_or_are_finished():
    stage = Stage()
    stage.begin("2", "1")
    stage.tell("executed", node="9", display_node="9", output=None)
    assert stage.follow.over() == {"1", "9"}
