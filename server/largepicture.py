"""Shows large pictures by a process of their own. Also that process: reads a picture on its input.

Pillow holds the interpreter's lock while it hands a large picture to an encoder, and a picture of a hundred megapixels
takes a gigabyte: here neither keeps other clients waiting, nor can it end the server.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

from executor.errors import BadInput

MOST_PIXELS = 24_000_000
"""Larger pictures are shown by another process."""
PATIENCE_S = 300.0
UNREADABLE = 3  # exit status
ROOT = Path(__file__).resolve().parents[1]


def shown(source: BinaryIO, wish: str | None, channel: str) -> bytes:
    """What `media.encoded` makes of a picture file, made by another process; errors as there. Belongs in a thread."""
    command = [sys.executable, "-m", __name__, "none" if wish is None else f"wish:{wish}", channel]
    given: dict[str, Any] = {"input": source.getvalue()} if isinstance(source, io.BytesIO) else {"stdin": source}
    if not isinstance(source, io.BytesIO):
        source.seek(0)
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=PATIENCE_S, check=False, env=_environment(), **given
        )
    except (subprocess.TimeoutExpired, ValueError) as error:  # ValueError: a wish with a zero character
        raise BadInput("the picture cannot be shown so") from error
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines()[-1:] if done.returncode == UNREADABLE else []
        raise BadInput("".join(told) or "the picture cannot be shown: the process that was to do it ended")
    body: bytes = done.stdout
    return body


def _environment() -> dict[str, str]:
    """The environment of a process that finds these packages wherever the server was started."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def main(wish: str, channel: str) -> int:
    """Encode the picture on the standard input and write it to the standard output; an exit status."""
    from server import media

    try:
        made = media.encoded(sys.stdin.buffer, wish.removeprefix("wish:") if wish != "none" else None, channel)
    except (BadInput, MemoryError) as error:
        sys.stderr.write(f"{error or 'there is too little memory'}\n")
        return UNREADABLE
    sys.stdout.buffer.write(made.body)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
