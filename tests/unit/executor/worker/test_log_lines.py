"""Log lines on their way to the front."""

import logging
from collections.abc import Iterator

import pytest

from executor.messages import LogLine
from executor.worker.log_lines import send_logs


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


def test_a_traceback_is_part_of_the_text(lines: list[LogLine]):
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("pack.x").exception("it broke")
    assert lines[0].text.endswith("ValueError: odd")


def test_lines_below_the_level_stay(lines: list[LogLine]):
    logging.getLogger("pack.x").debug("detail")
    assert lines == []


def test_text_that_is_no_unicode_is_mended(lines: list[LogLine]):
    logging.getLogger("pack.x").warning("\ud800")
    assert lines[0].text == "?"
