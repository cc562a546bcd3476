"""A pack that starts the server anew ends its worker, and nothing else."""

import os
import sys

import pytest

from nodes.packs.restart import answer_restarts


class Line:
    """Notes whether what was sent was waited for."""

    flushed = False

    def hears(self) -> bool:
        return False

    def flush(self) -> None:
        self.flushed = True


class Ended(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    def end(code: int) -> None:
        raise Ended(code)

    def execute(path: str, argv: list[str]) -> None:
        raise Ended(path, *argv)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(os, "execv", execute)
    line = Line()
    answer_restarts(line)
    return line


def test_restart_ends_the_process_in_order(line: Line):
    with pytest.raises(Ended) as ended:
        os.execv(sys.executable, [sys.executable, "main.py"])
    assert (ended.value.args, line.flushed) == ((0,), True)


def test_other_programs_are_started(line: Line):
    with pytest.raises(Ended) as ended:
        os.execv("/bin/true", ["true"])
    assert ended.value.args == ("/bin/true", "true")


def test_forked_child_becomes_what_it_wants(line: Line, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(Ended) as ended:
        os.execv(sys.executable, ["python"])
    assert ended.value.args == (sys.executable, "python")
