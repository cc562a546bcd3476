"""What becomes of a pack that starts the server anew, as managers of packs do: this worker ends, another begins.

The server elsewhere is one process, which such a pack replaces by `os.execv`. Here the front stays up, starts another
worker, and that one loads the packs as they are then.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from executor.worker.line import Line

log = logging.getLogger("weft.packs")


def answer_restarts(line: Line) -> None:
    """Let `os.execv` of the interpreter end this process, and be itself for other programs and forked children."""
    execute, process = os.execv, os.getpid()

    def execv(path: str | os.PathLike[str], argv: Sequence[str], /) -> NoReturn:
        if os.getpid() == process and os.path.realpath(path) == os.path.realpath(sys.executable):
            log.warning("a pack asked for a restart: this worker ends, and another begins")
            line.flush()
            os._exit(0)
        execute(path, list(argv))

    os.execv = execv  # type: ignore[assignment]
