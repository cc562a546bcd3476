"""Log lines on their way to the front."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from executor.context import RunContext, entered
from executor.messages import LogLine
from executor.worker.log_lines import send_logs, send_writes


@pytest.fixture
def lines() -> Iterator[list[LogLine]]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    sent: list[LogLine] = []
    send_logs(sent.append, "info")
    yield sent
    root.handlers[:], root.level = handlers, level


def test_a_line_keeps_its_logger_level_and_text(lines: list[LogLine]):
    logging.getLogger("pack.x").warning("%d%% done", 50)
    assert [(line.logger, line.level, line.text) for line in lines] == [("pack.x", "WARNING", "50% done")]


def test_a_traceback_goes_beside_the_text(lines: list[LogLine]):
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("pack.x").exception("it broke")
    assert lines[0].text == "it broke"
    assert lines[0].exception.startswith("Traceback")
    assert lines[0].exception.endswith("ValueError: odd")


def test_a_stack_that_was_asked_for_goes_there_too(lines: list[LogLine]):
    logging.getLogger("pack.x").warning("here", stack_info=True)
    assert "Stack (most recent call last)" in lines[0].exception


def test_lines_below_the_level_stay(lines: list[LogLine]):
    logging.getLogger("pack.x").debug("detail")
    assert lines == []


def test_text_that_is_no_unicode_is_mended(lines: list[LogLine]):
    logging.getLogger("pack.x").warning("\ud800")
    assert lines[0].text == "?"


@contextmanager
def writes() -> Iterator[list[LogLine]]:
    """What is written inside the block goes here, while prompt "p" runs; pytest sets the streams anew for each test."""
    usual = sys.stdout, sys.stderr
    sent: list[LogLine] = []
    send_writes(sent.append, lambda: "p")
    try:
        yield sent
    finally:
        sys.stdout, sys.stderr = usual


def test_what_is_printed_becomes_lines_about_the_prompt_that_runs():
    with writes() as written:
        print("one\ntwo", 2)  # noqa: T201
        sys.stderr.write("  3%|#\r 50%|##\r")
        told = [(line.logger, line.text, line.job_id, line.level) for line in written]
        assert told == [
            ("stdout", "one", "p", "INFO"),
            ("stdout", "two 2", "p", "INFO"),
            ("stderr", "  3%|#", "p", "INFO"),
            ("stderr", " 50%|##", "p", "INFO"),
        ]


def test_the_call_that_prints_says_which_prompt_it_is_about():
    with writes() as written:
        with entered(RunContext(job_id="q")):
            print("x")  # noqa: T201
        thread = threading.Thread(target=lambda: print("y"))  # noqa: T201
        thread.start()
        thread.join()
        assert [(line.text, line.job_id) for line in written] == [("x", "q"), ("y", "p")]


def test_a_line_is_told_once_it_ends_and_empty_ones_are_not():
    with writes() as written:
        sys.stdout.write("half")
        assert written == []
        sys.stdout.write(" and half\n\n  \n")
        assert [line.text for line in written] == ["half and half"]


def test_bytes_and_odd_text_are_written_too():
    with writes() as written:
        sys.stdout.buffer.write(b"\xff raw\n")
        sys.stdout.write("\ud800\n")
        assert [line.text for line in written] == ["\ufffd raw", "\\ud800"]
        assert not sys.stdout.isatty()


def test_a_line_without_end_is_told_in_pieces():
    with writes() as written:
        for _ in range(5):
            sys.stdout.write("x" * 40_000)
        assert [len(line.text) for line in written] == [80_000, 80_000]


def test_a_program_that_a_node_starts_may_write_where_the_streams_lead(capfd):
    with writes() as written:
        subprocess.run([sys.executable, "-c", "print('theirs')"], stdout=sys.stdout, check=True)
        assert capfd.readouterr().out == "theirs" + os.linesep
        assert written == []
