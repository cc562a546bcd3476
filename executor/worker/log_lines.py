"""Sends what the worker logs to the front, which shows and keeps it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from executor.context import current
from executor.messages import LogLine


class FrontHandler(logging.Handler):
    """A logging handler whose lines go over the channel."""

    def __init__(self, send: Callable[[LogLine], None]) -> None:
        super().__init__()
        self._send_line = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; one that cannot be formatted is told on standard error, as logging does."""
        try:
            text = self.format(record)
        except (TypeError, ValueError):
            self.handleError(record)
            return
        text = text.encode("utf-8", "replace").decode()
        job_id = current().job_id
        self._send_line(
            LogLine(time_s=record.created, level=record.levelname, logger=record.name, text=text, job_id=job_id)
        )


def send_logs(send: Callable[[LogLine], None], level: str) -> None:
    """Let everything this process logs at `level` or above go to the front."""
    root = logging.getLogger()
    root.handlers[:] = [FrontHandler(send)]
    root.setLevel(level.upper())
