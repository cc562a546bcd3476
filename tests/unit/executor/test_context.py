"""The running call's context: nesting, progress, interrupt."""

import pytest

from executor.context import InterruptFlag, Preview, RunContext, current, entered
from executor.errors import Interrupted


class Recorder:
    def __init__(self) -> None:
        self.steps: list[tuple[str, float, float]] = []

    def advance(self, node_id: str, value: float, total: float, preview: Preview | None) -> None:
        self.steps.append((node_id, value, total))

    def text(self, node_id: str, message: str) -> None:
        raise AssertionError(f"no text was expected: {message}")


def test_outside_a_prompt_the_context_is_silent() -> None:
    current().progress(1, 2)
    assert current().job_id == ""


def test_entered_is_undone_at_the_end() -> None:
    with entered(RunContext(job_id="outer")):
        with entered(RunContext(job_id="inner")):
            assert current().job_id == "inner"
        assert current().job_id == "outer"


def test_progress_reaches_the_sink_with_the_node() -> None:
    sink = Recorder()
    RunContext(node_id="3", sink=sink).progress(2, 20)
    assert sink.steps == [("3", 2, 20)]


def test_progress_raises_when_interrupted_and_reports_nothing() -> None:
    sink, flag = Recorder(), InterruptFlag()
    flag.set()
    with pytest.raises(Interrupted):
        RunContext(node_id="3", sink=sink, interrupt=flag).progress(2, 20)
    assert sink.steps == []
