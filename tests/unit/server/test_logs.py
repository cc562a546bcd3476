"""Log lines as JSON: one object a line, with the prompt it is about."""

import asyncio
import io
import json
import logging
import sys

import pytest

from executor.queue.job import about
from server import logs
from server.logs import JsonLines, Terminal


def line_of(**record: object) -> dict[str, object]:
    return json.loads(JsonLines().format(logging.makeLogRecord({"name": "weft", "levelname": "INFO", **record})))


def test_a_line_has_time_level_logger_and_message():
    line = line_of(msg="%s ended", args=("w",), created=0.5)
    assert line == {"time": "1970-01-01T00:00:00.500+00:00", "level": "INFO", "logger": "weft", "message": "w ended"}


def test_a_line_about_a_prompt_names_it():
    assert line_of(msg="x", **about("p1"))["prompt_id"] == "p1"


def test_an_exception_stays_on_the_line():
    try:
        raise ValueError("odd\nthing")
    except ValueError:
        text = JsonLines().format(logging.makeLogRecord({"msg": "x", "exc_info": sys.exc_info()}))
    assert "\n" not in text
    assert "ValueError: odd" in json.loads(text)["exception"]


def test_a_traceback_that_came_as_text_is_the_exception_of_its_line():
    line = line_of(msg="a pack failed", exc_text="Traceback ...\nValueError: odd")
    assert (line["message"], line["exception"]) == ("a pack failed", "Traceback ...\nValueError: odd")


@pytest.fixture
def terminal():
    shown = Terminal(io.StringIO())
    shown.setFormatter(logging.Formatter("%(message)s"))
    return shown


def say(terminal: Terminal, text: str, *args: object, level: int = logging.INFO) -> None:
    terminal.handle(logging.LogRecord("weft", level, "", 0, text, args, None))


def test_without_a_loop_each_line_goes_at_once(terminal):
    say(terminal, "a")
    assert terminal.stream.getvalue() == "a\n"


async def test_lines_of_a_loop_go_together(terminal, monkeypatch):
    monkeypatch.setattr(logs, "GATHER_S", 0.001)
    with terminal.gathered():
        say(terminal, "a")
        say(terminal, "b")
        assert terminal.stream.getvalue() == ""
        async with asyncio.timeout(60):
            while not terminal.stream.getvalue():
                await asyncio.sleep(0.001)
    assert terminal.stream.getvalue() == "a\nb\n"


async def test_a_warning_waits_for_nothing_and_what_waits_goes_before_it(terminal):
    with terminal.gathered():
        say(terminal, "a")
        say(terminal, "b", level=logging.WARNING)
        assert terminal.stream.getvalue() == "a\nb\n"


async def test_what_another_thread_logs_is_written_in_its_order(terminal):
    with terminal.gathered():
        say(terminal, "a")
        await asyncio.to_thread(say, terminal, "b")
        assert terminal.stream.getvalue() == "a\nb\n"


async def test_what_waits_is_written_when_gathering_ends(terminal):
    with terminal.gathered():
        say(terminal, "a")
    assert terminal.stream.getvalue() == "a\n"


async def test_a_line_tells_what_was_so_when_it_was_logged(terminal):
    names = ["a"]
    with terminal.gathered():
        say(terminal, "%s", names)
        names.append("b")
    assert terminal.stream.getvalue() == "['a']\n"


async def test_a_line_that_cannot_be_made_keeps_no_other_from_being_written(terminal, monkeypatch):
    failed = []
    monkeypatch.setattr(terminal, "handleError", failed.append)
    with terminal.gathered():
        say(terminal, "%d", "no number")
        say(terminal, "b")
    assert (terminal.stream.getvalue(), len(failed)) == ("b\n", 1)
