"""The last lines that the front and its workers logged, and who listens to new ones. Knows no sockets."""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TypedDict

LINES = 300


class Entry(TypedDict):
    """One line: local time in ISO form, and the text with its line end."""

    t: str
    m: str


class LogBook(logging.Handler):
    """A logging handler that remembers; `listener` is called with each new entry, on whatever thread logged it."""

    def __init__(self, lines: int = LINES) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._entries: deque[Entry] = deque(maxlen=lines)
        self.listener: Callable[[Entry], None] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a record."""
        try:
            text = self.format(record)
        except (TypeError, ValueError):
            self.handleError(record)
            return
        self.add(text, record.created)

    def add(self, text: str, time_s: float) -> None:
        """Remember one line logged at `time_s` (seconds since 1970)."""
        entry = Entry(t=datetime.fromtimestamp(time_s).isoformat(), m=text + "\n")
        self._entries.append(entry)
        if self.listener is not None:
            self.listener(entry)

    def entries(self) -> list[Entry]:
        """The remembered lines, oldest first."""
        return list(self._entries)


def terminal_size() -> dict[str, int]:
    """Columns and rows of the terminal the server runs in (80 by 24 without one)."""
    size = shutil.get_terminal_size()
    return {"cols": size.columns, "rows": size.lines}
