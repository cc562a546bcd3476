"""A file of the data folders as an answer: opened first, then looked at, so that no link can change in between.

Knows no routes. Ranges, tags and conditions are aiohttp's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from executor.fence import DESCRIPTORS, Fence

UNSEEN = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@contextmanager
def opened(fence: Fence, path: Path) -> Iterator[BinaryIO]:
    """A file to read in a with block; HTTPNotFound for none, UnsafePath where a link leads outside the folders."""
    try:
        handle = fence.open(path)
    except UNSEEN as error:
        raise web.HTTPNotFound from error
    with os.fdopen(handle, "rb") as file:
        yield file


async def send(fence: Fence, path: Path, headers: Mapping[str, str]) -> web.StreamResponse:
    """Answer with a file as it is, or the part that is asked for; errors as `opened`.

    aiohttp would send `x.png.gz` for `x.png` where that lies beside it; a path by descriptor has no neighbours.
    """
    return await asyncio.to_thread(_answer, fence, path, headers)


class _FileAnswer(web.FileResponse):
    """The answer that reads a file which is open already, and closes it."""

    def __init__(self, file: BinaryIO, path: Path, headers: Mapping[str, str]) -> None:
        by_handle = f"{DESCRIPTORS}/{file.fileno()}"
        super().__init__(by_handle if os.path.exists(by_handle) else path.resolve(), headers=headers)
        self._file = file

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        try:
            return await super().prepare(request)
        finally:
            self._file.close()


def _answer(fence: Fence, path: Path, headers: Mapping[str, str]) -> web.StreamResponse:
    try:
        return _FileAnswer(os.fdopen(fence.open(path), "rb"), path, headers)
    except UNSEEN as error:
        raise web.HTTPNotFound from error
