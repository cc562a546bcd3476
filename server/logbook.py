"""The last lines that the front and its workers logged, and who listens to new ones. Knows no sockets."""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TypedDict

LINES = 300
PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types of arguments that never change."""


class Entry(TypedDict):
    """One line: local time in ISO form, and the text with its line end."""

    t: str
    m: str


class LogBook(logging.Handler):
    """A logging handler that remembers; lines are written out when somebody reads them.

    `listener` is called with each new entry, on whatever thread logged it, while `is_heard` says so.
    """

    def __init__(self, lines: int = LINES) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._lines: deque[Entry | logging.LogRecord] = deque(maxlen=lines)
        self.listener: Callable[[Entry], None] | None = None
        self.is_heard: Callable[[], bool] = lambda: True

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a record."""
        try:
            self._take(self._entry(record) if record.exc_info else settled(record))
        except (TypeError, ValueError):
            self.handleError(record)

    def add(self, text: str, time_s: float) -> None:
        """Remember one line logged at `time_s` (seconds since 1970)."""
        self._take(_entry(text, time_s))

    def _take(self, line: Entry | logging.LogRecord) -> None:
        self._lines.append(line)
        if self.listener is not None and self.is_heard():
            self.listener(self._entry(line))

    def entries(self) -> list[Entry]:
        """The remembered lines, oldest first."""
        return [self._entry(line) for line in tuple(self._lines)]

    def _entry(self, line: Entry | logging.LogRecord) -> Entry:
        return _entry(self.format(line), line.created) if isinstance(line, logging.LogRecord) else line


def settled(record: logging.LogRecord) -> logging.LogRecord:
    """The record, which can be written out later: what of its message might change until then is written out now."""
    args = record.args
    if args and not (isinstance(args, tuple) and all(type(arg) in PLAIN for arg in args)):
        record.msg, record.args = record.getMessage(), None
    return record


def _entry(text: str, time_s: float) -> Entry:
    return Entry(t=datetime.fromtimestamp(time_s).isoformat(), m=text + "\n")


def terminal_size() -> dict[str, int]:
    """Columns and rows of the terminal the server runs in (80 by 24 without one)."""
    size = shutil.get_terminal_size()
    return {"cols": size.columns, "rows": size.lines}
