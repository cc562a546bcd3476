"""GIFs through the program gifski (gif.ski), where it is installed: better colours than one palette for all frames.

Only its documented options are used. Knows no nodes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from executor import context
from executor.errors import NodeInputError
from executor.inference.video_encoding import Frame, encode_png

NAMES = ("VHS_GIFSKI", "JOV_GIFSKI")  # environment variables that name the program (reference/vhs_video_combine.md)
LOOK_S = 0.1  # between two looks whether the user stopped the prompt


def find_gifski() -> str | None:
    """The program's path, or None."""
    named = (os.environ[name] for name in NAMES if os.environ.get(name))
    return next(named, None) or shutil.which("gifski")


def encode_gifski(path: Path, frames: Iterable[Frame], rate: Fraction, quality: int, program: str) -> None:
    """Write 8-bit frames as a GIF; NodeInputError with the program's own words when it fails or is not there.

    Interrupted when the user stops the prompt; the program ends then.
    """
    with tempfile.TemporaryDirectory(prefix="weft-gifski-") as folder:
        names = []
        for number, values in enumerate(frames):
            names.append(f"{number:08}.png")
            Path(folder, names[-1]).write_bytes(encode_png(values, 8))
        options = ["--fps", f"{float(rate):g}", "--quality", str(quality), "--output", str(path.absolute())]
        with Path(folder, "said.txt").open("w+b") as said:
            try:
                process = subprocess.Popen([program, *options, *names], cwd=folder, stdout=said, stderr=said)
            except OSError as error:
                raise NodeInputError(f"gifski cannot be started as {program}: {error.strerror}") from error
            status = _ended(process)
            said.seek(0)
            words = said.read().decode(errors="replace").strip()
    if status:
        raise NodeInputError(f"gifski ended with status {status}: {words[-300:] or 'it said nothing'}")


def _ended(process: subprocess.Popen[bytes]) -> int:
    try:
        while True:
            context.current().check_interrupt()
            try:
                return process.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                continue
    finally:
        process.kill()
        process.wait()
