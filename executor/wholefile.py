"""Writes whole files only: under another name first, renamed when all of it is there. Knows no folders."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol


class Record(Protocol):
    """Where files are noted as they are written, so that they can be removed if the work is lost."""

    def part(self, path: Path) -> None:
        """A temporary file is about to be made."""
        ...

    def made(self, path: Path, written: Path) -> None:
        """What was `written` is about to get, or has, the name `path`."""
        ...


@contextmanager
def whole(path: Path, *, record: Record | None = None) -> Iterator[Path]:
    """The temporary name to write to in a with block; at its end the file gets its own name, or, after an error, goes.

    It ends as the file does, for libraries that look at endings. OSError names the file that could not be written.
    """
    part = path.with_name(f".{secrets.token_hex(16)}.part{path.suffix}")
    if record is not None:
        record.part(part)
    try:
        yield part
        if record is not None:
            record.made(path, part)
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(part)):
            raise type(error)(error.errno, error.strerror or str(error), str(path)) from error
        raise


def write_whole(
    path: Path, write: Callable[[BinaryIO], object], *, record: Record | None = None, lasting: bool = False
) -> None:
    """Write a file in one step: readers see all of it, or what was there before. `lasting`: also after a power cut."""
    with whole(path, record=record) as part, part.open("wb") as file:
        write(file)
        file.flush()
        if lasting:
            os.fsync(file.fileno())
    if lasting:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last, where folders can be synced (not on Windows)."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
