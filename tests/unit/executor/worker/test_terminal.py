"""Progress for people."""

import io
import logging
import os

import pytest

from executor.worker import terminal as module
from executor.worker.terminal import Terminal


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="weft.progress")
    return caplog


def test_the_last_step_is_logged_with_the_seconds_per_step(clock: Clock, lines: pytest.LogCaptureFixture):
    shown = Terminal()
    shown.step("3", "KSampler", 0, 20)
    clock.now_s += 4.0
    shown.step("3", "KSampler", 20, 20)
    assert lines.messages == ["KSampler: step 20 of 20, 0.20 s per step"]


def test_steps_in_between_are_logged_now_and_then(clock: Clock, lines: pytest.LogCaptureFixture):
    shown = Terminal()
    for step in range(13):
        shown.step("3", "KSampler", step, 100)
        clock.now_s += 1.0
    assert [line.split(",")[0] for line in lines.messages] == ["KSampler: step 5 of 100", "KSampler: step 10 of 100"]


def test_work_of_one_step_is_not_logged(clock: Clock, lines: pytest.LogCaptureFixture):
    Terminal().step("3", "PreviewImage", 1, 1)
    assert lines.messages == []


def test_a_terminal_gets_a_bar_per_node():
    stream = io.StringIO()
    shown = Terminal(stream)
    shown.step("3", "KSampler", 5, 20)
    shown.step("4", "Upscale", 1, 2)
    shown.close()
    assert "KSampler:" in stream.getvalue()
    assert "Upscale:" in stream.getvalue()
    assert "step" in stream.getvalue()


def test_the_bar_tells_seconds_per_step():
    stream = io.StringIO()
    Terminal(stream).step("3", "KSampler", 5, 20)
    assert "s/step]" in stream.getvalue()
    assert "step/s" not in stream.getvalue()


def test_a_terminal_of_no_known_width_gets_a_bar_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module.shutil, "get_terminal_size", lambda: os.terminal_size((80, 24)))
    stream = io.StringIO()
    Terminal(stream).step("3", "KSampler", 5, 20)
    assert max(map(len, stream.getvalue().split("\r"))) == 79
