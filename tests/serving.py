"""Starts real servers for tests: a process of its own, a free port, an empty folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


@contextmanager
def serving(base: Path, *flags: str, module: str = "server") -> Iterator[str]:
    """The address of a fresh server with `base` as its folder; `module` is the program that is one."""
    command = [sys.executable, "-m", module, "--base-directory", str(base), "--port", "0", *flags]
    with (base / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = process.stdout.readline()
        assert "http://" in line, (base / "log.txt").read_text()
        yield line[line.index("http://") :].strip()
    finally:
        process.terminate()
        try:
            process.wait(120)
        finally:
            process.kill()
            process.stdout.close()
