"""How the process logs: lines for people or JSON objects for machines, on standard error and in the log book."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

from executor.queue.job import PROMPT_ID
from executor.settings import Settings
from server.logbook import LogBook, settled

TEXT_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"
GATHER_S = 0.02
"""How long a line of an event loop waits for others to be written with."""


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC, ISO 8601), level, logger, message, and the prompt and exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without its end."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        prompt_id = getattr(record, PROMPT_ID, None)
        if prompt_id:
            line[PROMPT_ID] = prompt_id
        if record.exc_info or record.exc_text:
            line["exception"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
        return json.dumps(line, ensure_ascii=False)


class Terminal(logging.StreamHandler[TextIO]):
    """Writes lines to a stream, each at once; those of a loop whose lines are `gathered` go some ms later, together.

    Warnings, and whatever other threads log, go at once even so, and what waits goes before them.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._waiting: list[logging.LogRecord] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Have the lines of the running loop gathered."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        try:
            yield
        finally:
            self._loop = None
            self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or keep it for some ms."""
        loop = self._loop
        if loop is None or record.levelno >= logging.WARNING or threading.get_ident() != self._thread:
            self._waiting.append(record)
            self.flush()
            return
        try:
            self._waiting.append(settled(record))
        except (TypeError, ValueError):
            self.handleError(record)
        if len(self._waiting) == 1:
            loop.call_later(GATHER_S, self.flush)

    def flush(self) -> None:
        """Write what waits."""
        self.acquire()
        try:
            waiting, self._waiting = self._waiting, []
            if waiting:
                self._write(waiting)
        finally:
            self.release()

    def _write(self, records: list[logging.LogRecord]) -> None:
        lines: list[str] = []
        for record in records:
            try:
                lines.append(self.format(record) + self.terminator)
            except (TypeError, ValueError):  # a message that cannot be made must not keep others from being written
                self.handleError(record)
        try:
            self.stream.write("".join(lines))
            super().flush()
        except (OSError, ValueError):  # nobody reads any more, or the line cannot be encoded
            self.handleError(records[-1])


def log_lightly() -> None:
    """Have records not say where in the code, and on which thread, they were made: no line here tells it.

    Finding it out takes longer than all else about a record (Python's logging how-to, "Optimization").
    """
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def set_up_logging(settings: Settings, logbook: LogBook) -> Terminal:
    """Log to the terminal, in the form that the settings ask for, and to the log book."""
    terminal = Terminal(sys.stderr)
    terminal.setFormatter(JsonLines() if settings.log_format == "json" else logging.Formatter(TEXT_FORM, "%H:%M:%S"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[terminal, logbook], force=True)
    return terminal
