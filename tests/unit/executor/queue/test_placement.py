"""Which worker gets which job: the one that has its model or its results, without anybody waiting for ever."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from executor.contract.definition import FileChoices, InputDef, NodeDef, OutputDef
from executor.engine.base import WorkerInfo
from executor.queue import placement as module
from executor.queue.job import Job, make_job
from executor.queue.placement import Placement
from executor.queue.warmth import MOST_FILES, Warmth

LOADER = NodeDef(
    name="Loader",
    display_name="Loader",
    category="",
    inputs=(InputDef(name="ckpt", type="COMBO", kind="required", choices=FileChoices(source="checkpoints")),),
    outputs=(OutputDef(name="MODEL", type="MODEL"),),
)
PICTURE = NodeDef(
    name="Picture",
    display_name="Picture",
    category="",
    inputs=(InputDef(name="file", type="COMBO", kind="required", choices=FileChoices(source="input")),),
    outputs=(),
)
W0, W1 = WorkerInfo(id="w0", state="idle", idle_since_s=1.0), WorkerInfo(id="w1", state="idle", idle_since_s=2.0)
BOTH = (W0, W1)


def job(row: int, model: str | None = None, number: float | None = None, **node: object) -> Job:
    """A job that loads a model, or does something else."""
    inputs = {"ckpt": model} if model else node
    graph = {"1": {"class_type": "Loader" if model else "Picture" if "file" in node else "Other", "inputs": inputs}}
    made = make_job(prompt_id=str(row), number=row if number is None else number, prompt=graph, targets=["1"])
    return replace(made, row=row)


@pytest.fixture
def warmth() -> Warmth:
    return Warmth(lambda: {"Loader": LOADER, "Picture": PICTURE})


@pytest.fixture
def placement(warmth: Warmth) -> Placement:
    return Placement(warmth, lambda job: job.id == "tied")


def chosen(placement: Placement, jobs: list[Job], idle=BOTH, workers=BOTH) -> tuple[str, int] | None:
    found = placement.choose(jobs, idle, workers)
    return None if found is None else (found[0].id, found[1].row)


def test_without_work_or_workers_nothing_is_placed(placement: Placement):
    assert chosen(placement, []) is None
    assert chosen(placement, [job(1)], idle=()) is None


def test_the_worker_that_is_idle_longest_gets_what_nobody_is_warm_for(placement: Placement):
    assert chosen(placement, [job(1, "a"), job(2, "b")]) == ("w0", 1)


def test_a_job_goes_where_its_model_is(placement: Placement):
    placement.began("w1", job(1, "a"))
    assert chosen(placement, [job(2, "a")]) == ("w1", 2)
    assert chosen(placement, [job(3, "b")]) == ("w0", 3)


def test_the_model_that_was_used_last_is_the_likelier_to_be_there(placement: Placement):
    placement.began("w1", job(1, "a"))
    placement.began("w0", job(2, "a"))
    placement.began("w1", job(3, "b"))
    assert chosen(placement, [job(4, "a")]) == ("w0", 4)


def test_a_job_goes_where_its_results_are(placement: Placement):
    placement.began("w1", job(1, text="same"))
    assert chosen(placement, [job(2, text="same")]) == ("w1", 2)
    assert chosen(placement, [job(3, text="other")]) == ("w0", 3)


def test_a_file_of_the_input_folder_is_no_model(warmth: Warmth):
    assert warmth.needs(job(1, file="x.png")).files == frozenset()
    assert warmth.needs(job(2, "a")).files == {("checkpoints", "a")}


def test_a_model_elsewhere_is_overtaken_by_one_that_is_here_but_not_for_ever(placement: Placement, monkeypatch):
    monkeypatch.setattr(module, "MOST_OVERTAKEN", 2)
    placement.began("w0", job(1, "a"))
    placement.began("w1", job(2, "b"))
    jobs = [job(row, "a" if row == 3 else "b") for row in range(3, 9)]
    taken = [chosen(placement, jobs, idle=(W1,))]
    for _ in range(2):
        jobs = [waiting for waiting in jobs if waiting.row != taken[-1][1]]
        taken.append(chosen(placement, jobs, idle=(W1,)))
    assert taken == [("w1", 4), ("w1", 5), ("w1", 3)]


@pytest.mark.parametrize("first", [job(3, "a", number=-1), replace(job(3, "a"), at_head=True), job(3, "new")])
def test_what_goes_first_by_wish_or_is_warm_nowhere_is_not_overtaken(placement: Placement, first: Job):
    placement.began("w0", job(1, "a"))
    placement.began("w1", job(2, "b"))
    assert chosen(placement, [first, job(4, "b")], idle=(W1,)) == ("w1", 3)


def test_no_worker_stays_idle_for_the_sake_of_a_model(placement: Placement):
    placement.began("w0", job(1, "a"))
    assert chosen(placement, [job(2, "a"), job(3, "a")], idle=(W1,)) == ("w1", 2)


def test_a_tied_job_waits_for_the_first_worker_and_others_do_not(placement: Placement):
    tied = replace(job(1, "a"), id="tied")
    assert chosen(placement, [tied, job(2)], idle=(W1,)) == ("w1", 2)
    assert chosen(placement, [tied, job(2)], idle=(W1, W0)) == ("w0", 1)


def test_what_a_lost_or_freed_worker_held_is_forgotten(placement: Placement, warmth: Warmth):
    placement.began("w1", job(1, "a"))
    warmth.lost("w1")
    assert chosen(placement, [job(2, "a")]) == ("w0", 2)
    placement.began("w1", job(2, "a"))
    warmth.freed()
    assert chosen(placement, [job(3, "a")]) == ("w0", 3)


def test_no_more_files_are_noted_than_a_worker_may_hold(placement: Placement, warmth: Warmth):
    for number in range(MOST_FILES + 1):
        placement.began("w1", job(number, f"m{number}"))
    assert warmth.of("w1", job(90, "m0"))[0] == 0
    assert warmth.of("w1", job(91, "m1"))[0] > 0


def test_a_single_worker_costs_no_look_at_prompts(placement: Placement, monkeypatch):
    monkeypatch.setattr(Warmth, "needs", None)
    assert chosen(placement, [job(1, "a"), job(2)], idle=(W0,), workers=(W0,)) == ("w0", 1)


def test_a_worker_that_writes_files_gets_no_model_that_another_one_has(placement: Placement):
    writes = WorkerInfo(id="w0", state="busy")
    placement.began("w0", job(1, "a"))
    placement.began("w1", job(2, "b"))
    assert chosen(placement, [job(3, "b")], idle=[writes], workers=[writes, W1]) is None
    assert chosen(placement, [job(4, "a")], idle=[writes], workers=[writes, W1]) == ("w0", 4)
    assert chosen(placement, [job(5, "c")], idle=[writes], workers=[writes, W1]) == ("w0", 5)


def test_models_part_again_once_both_workers_have_seen_both(placement: Placement):
    for row, (worker, model) in enumerate([("w0", "a"), ("w0", "b"), ("w1", "b"), ("w1", "a")]):
        placement.began(worker, job(row, model))
    assert chosen(placement, [job(8, "a"), job(9, "b")], idle=[W0]) == ("w0", 9)
    assert chosen(placement, [job(8, "a")], idle=[W0]) == ("w0", 8)
