"""Logs in the front what workers logged, as if it had happened here. Knows no form of the log."""

from __future__ import annotations

import logging

from executor.messages import LogLine
from executor.queue.job import about


def relay(line: LogLine) -> None:
    """Log a worker's line, with its time, its traceback and the prompt it is about."""
    level = logging.getLevelName(line.level)
    level = level if isinstance(level, int) else logging.INFO
    logger = logging.getLogger(line.logger)
    if not logger.isEnabledFor(level):
        return
    record = logger.makeRecord(line.logger, level, "", 0, line.text, (), None, extra=about(line.job_id))
    record.created = line.time_s or record.created
    record.exc_text = line.exception or None
    logger.handle(record)
