"""What `weft` does beside serving: commands that answer and end."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from executor.engine.process import ProcessEngine
from executor.errors import BadInput, WeftError
from executor.settings import Settings
from server.cleaning import clean_once, cleaned
from server.configuration import read_configuration, show
from server.doctor import examine, report
from server.logbook import LogBook
from server.logs import set_up_logging
from server.profileurl import profile_at
from server.profiling import Order, read_workflow, sums
from server.profiling import profile as run_profile

DRY_RUN = "--dry-run"
STOPPED = 130
"""The status of a command that Ctrl-C ended, as shells give it."""
PROFILE_USAGE = "weft profile WORKFLOW.json [--out TRACE.json] [--torch] [--warm | --url ADDRESS] [flags of the server]"
PROFILE_HELP = f"""usage: {PROFILE_USAGE}

Runs a workflow (in the API's form) and tells how long each node and each phase took.

  --out TRACE.json  the trace, which ui.perfetto.dev opens; WORKFLOW.trace.json where nothing is said
  --torch           the operators that torch runs, too: large and slower
  --warm            run it once before, and keep the models
  --url ADDRESS     have the server that runs there do it; a key with the scopes submit and manage: --auth-token

Without --url it runs in a worker of its own, with the flags that the server would get.
"""


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


def profile(argv: Sequence[str]) -> int:
    """`weft profile FILE [--out FILE] [--torch] [--warm | --url ADDRESS] [flags]`: run it, tell what ran when."""
    if "--help" in argv or "-h" in argv:
        sys.stdout.write(PROFILE_HELP)
        return 0
    given, settings = _profile_words(argv)
    trace = given.out or Path(f"{given.workflow.stem}.trace.json")
    failure = ""
    graph: Mapping[str, object] = {}
    try:
        read = read_workflow(given.workflow)
        if trace.exists() and trace.samefile(given.workflow):
            raise BadInput(f"--out {trace} is the workflow itself")
        if not trace.parent.is_dir():
            raise BadInput(f"--out {trace}: there is no folder {trace.parent}")
        trace.unlink(missing_ok=True)
        graph = read
        if given.url is not None:
            failure = profile_at(given.url, settings, graph, trace, operators=given.torch)
        else:
            order = Order(prompt=graph, trace=trace, operators=given.torch, warm=given.warm)
            set_up_logging(settings, LogBook())
            asyncio.run(run_profile(settings, ProcessEngine(settings, loader="nodes:load"), order))
    except (OSError, WeftError) as error:
        failure = str(error)
    except KeyboardInterrupt:
        sys.stderr.write("weft: stopped\n")
        return STOPPED
    if graph and trace.exists():
        told = sums(json.loads(trace.read_bytes()), graph)
        sys.stdout.write(f"{told}\ntrace: {trace} (ui.perfetto.dev opens it)\n")
    if failure:
        sys.stderr.write(f"weft: {failure}\n")
    return int(bool(failure))


def _profile_words(argv: Sequence[str]) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(prog="weft profile", usage=PROFILE_USAGE, allow_abbrev=False, add_help=False)
    parser.add_argument("workflow", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--torch", action="store_true")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--warm", action="store_true")
    way.add_argument("--url")
    words = list(argv)
    if not words or words[0].startswith("-"):
        parser.error("the first word is the workflow's file")
    given, flags = parser.parse_known_args(words)
    return given, replace(read_configuration(flags, os.environ).settings, workers=1)


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "clean": clean,
    "config": config,
    "doctor": doctor,
    "profile": profile,
}

if __name__ == "__main__":
    sys.exit("weft: server.commands starts nothing by itself; `python -m server profile w.json` runs a command")
