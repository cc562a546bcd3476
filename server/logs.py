"""How the process logs: lines for people or JSON objects for machines, on standard error and in the log book."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from executor.queue.job import PROMPT_ID
from executor.settings import Settings
from server.logbook import LogBook

TEXT_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"


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


def set_up_logging(settings: Settings, logbook: LogBook) -> None:
    """Log to the terminal, in the form that the settings ask for, and to the log book."""
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(JsonLines() if settings.log_format == "json" else logging.Formatter(TEXT_FORM, "%H:%M:%S"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[terminal, logbook], force=True)
