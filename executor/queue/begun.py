"""Notes which attempts have begun that the database does not know of yet. Knows no database and no worker.

Writing a row before each start would keep a worker waiting for the disk. A note is sixteen bytes in a file that is not
flushed: it outlives the death of any process at any moment, and costs a few microseconds. A power cut may lose it;
then an attempt that had just begun does not count.
"""

from __future__ import annotations

import logging
import os
import struct
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("weft.dispatcher")

_NOTE = struct.Struct("<QQ")  # row, number of the attempt; 0, 0: free
_FIRST = 64  # places that the file has from the start, so that a full disk has room for them


class Begun:
    """The notes of one queue; without a path they are kept nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None
        self._places: dict[int, int] = {}  # row -> place in the file
        self._free = list(range(_FIRST - 1, -1, -1))
        self._size = _FIRST

    def open(self) -> set[tuple[int, int]]:
        """Rows and attempts that the process before noted; new notes take their place."""
        if self._path is None:
            return set()
        try:
            data = self._path.read_bytes()
        except OSError:
            data = b""
        whole = len(data) // _NOTE.size * _NOTE.size
        return set(_NOTE.iter_unpack(data[:whole])) - {(0, 0)}

    def clear(self) -> None:
        """The database knows all that was noted: begin anew."""
        if self._path is None:
            return
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(self._file, bytes(_NOTE.size * _FIRST))
        except OSError as error:
            log.warning("what begins cannot be noted: %s", error)

    def note(self, row: int, attempt: int) -> None:
        """An attempt begins."""
        if row not in self._places:
            if not self._free:
                self._free.append(self._size)
                self._size += 1
            self._places[row] = self._free.pop()
        self._write(self._places[row], row, attempt)

    def forget(self, row: int) -> None:
        """The database knows the job as it stands now."""
        place = self._places.pop(row, None)
        if place is not None:
            self._free.append(place)
            self._write(place, 0, 0)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, place: int, row: int, attempt: int) -> None:
        if self._file is not None:
            with suppress(OSError):  # a full disk: the attempt is counted as soon as its row is written
                os.pwrite(self._file, _NOTE.pack(row, attempt), place * _NOTE.size)
