"""What a process writes past Python, line by line: native code, programs that nodes start, the words of a crash."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

CHUNK = 1 << 16
"""Bytes read at once; a longer line is told in pieces."""
_END = re.compile(rb"[\r\n]+")


async def lines_of(pipe: asyncio.StreamReader) -> AsyncIterator[str]:
    """The lines of a pipe that are not empty, until all who write to it have gone."""
    rest = b""
    while chunk := await pipe.read(CHUNK):
        *lines, rest = _END.split(rest + chunk)
        if len(rest) > CHUNK:
            lines, rest = [*lines, rest], b""
        for line in lines:
            if line.strip():
                yield line.decode("utf-8", "replace")
    if rest.strip():
        yield rest.decode("utf-8", "replace")
