"""What `weft` does beside serving: commands that answer and end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from executor.engine.process import ProcessEngine
from server.configuration import read_configuration, show
from server.doctor import examine, report


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


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {"config": config, "doctor": doctor}
