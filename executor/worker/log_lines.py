"""Sends what the worker logs, and with --log-format json what it writes, to the front, which shows and keeps it."""

from __future__ import annotations

import io
import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

from executor.context import current
from executor.messages import LogLine

_FORM = logging.Formatter()
_END = re.compile(rb"[\r\n]+")
LONGEST_LINE = 1 << 16
"""Bytes of a written line; a longer one is told in pieces."""


class FrontHandler(logging.Handler):
    """A logging handler whose lines go over the channel."""

    def __init__(self, send: Callable[[LogLine], None]) -> None:
        super().__init__()
        self._send_line = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; one that cannot be formatted is told on standard error, as logging does."""
        try:
            text, exception = record.getMessage(), _exception_of(record)
        except (TypeError, ValueError):
            self.handleError(record)
            return
        self._send_line(
            LogLine(
                time_s=record.created,
                level=record.levelname,
                logger=record.name,
                text=_sendable(text),
                exception=_sendable(exception),
                job_id=current().job_id,
            )
        )


def send_logs(send: Callable[[LogLine], None], level: str) -> None:
    """Let everything this process logs at `level` or above go to the front."""
    root = logging.getLogger()
    root.handlers[:] = [FrontHandler(send)]
    root.setLevel(level.upper())


def send_writes(send: Callable[[LogLine], None], running: Callable[[], str]) -> None:
    """Let every line that is written on standard output and error go to the front as a log line.

    `running` is the prompt that runs: lines of threads that no context reaches are about it. What native code writes
    past Python goes to the pipes that the engine hears.
    """
    sys.stdout = _stream("stdout", 1, send, running)
    sys.stderr = _stream("stderr", 2, send, running)


class _Lines(io.RawIOBase):
    """A file that is written to and sends whole lines; it has the descriptor of the stream that it stands for."""

    def __init__(self, name: str, descriptor: int, send: Callable[[LogLine], None], running: Callable[[], str]) -> None:
        super().__init__()
        self._name, self._descriptor = name, descriptor
        self._send_line, self._running = send, running
        self._rest = b""
        self._lock = threading.RLock()  # a warning in here would be written here

    def writable(self) -> bool:
        """It is written to."""
        return True

    def fileno(self) -> int:
        """The stream's own descriptor, for programs that nodes start."""
        return self._descriptor

    def write(self, data: object) -> int:
        """Take bytes, and send the lines that end in them."""
        written = bytes(data)  # type: ignore[call-overload]  # a buffer
        with self._lock:
            *lines, self._rest = _END.split(self._rest + written)
            if len(self._rest) > LONGEST_LINE:
                lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            if line.strip():
                text, job_id = line.decode("utf-8", "replace"), current().job_id or self._running()
                self._send_line(LogLine(time_s=time.time(), level="INFO", logger=self._name, text=text, job_id=job_id))
        return len(written)


def _stream(
    name: str, descriptor: int, send: Callable[[LogLine], None], running: Callable[[], str]
) -> io.TextIOWrapper:
    raw: BinaryIO = _Lines(name, descriptor, send, running)  # type: ignore[assignment]  # a raw file is enough here
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


def _exception_of(record: logging.LogRecord) -> str:
    """The traceback that goes with a record, and the stack where one was asked for."""
    parts = [record.exc_text or (_FORM.formatException(record.exc_info) if record.exc_info else "")]
    return "\n".join(filter(None, [*parts, record.stack_info]))


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
