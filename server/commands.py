"""What `weft` does beside serving: commands that answer and end."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence

from executor.engine.process import ProcessEngine
from executor.errors import WeftError
from server.cleaning import clean_once, cleaned
from server.configuration import read_configuration, show
from server.doctor import examine, report

DRY_RUN = "--dry-run"


def config(argv: Sequence[str]) -> int:
    """`weft config [flags]`: print the settings that would hold, and where each comes from."""
    sys.stdout.write(show(read_configuration(argv, os.environ)))
    return 0


def doctor(argv: Sequence[str]) -> int:
    """`weft doctor [flags]`: look whether a server would work here; the status is 1 if something would not."""
    settings = read_configuration(argv, os.environ).settings
    findings = asyncio.run(examine(settings, ProcessEngine(settings, loader="nodes:load"), argv))
    sys.stdout.write(report(findings))
    return int(any(finding.state == "bad" for finding in findings))


def clean(argv: Sequence[str]) -> int:
    """`weft clean [--dry-run] [flags]`: remove what is too much now, or tell what that is."""
    flags = [word for word in argv if word != DRY_RUN]
    told = read_configuration(flags, os.environ)
    try:
        gone = asyncio.run(clean_once(told.settings, dry=DRY_RUN in argv))
    except (OSError, WeftError, sqlite3.Error) as error:
        sys.stderr.write(f"weft: {error}\n")
        return 1
    sys.stdout.write(cleaned(gone, told.settings, dry=DRY_RUN in argv))
    return 0


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {"clean": clean, "config": config, "doctor": doctor}
