"""Log lines as JSON: one object a line, with the prompt it is about."""

import json
import logging
import sys

from executor.queue.job import about
from server.logs import JsonLines


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
