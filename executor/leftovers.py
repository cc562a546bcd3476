"""Files that attempts of jobs wrote: recorded by the worker as they are written, removed when the attempt was lost.

The record of an attempt is a file `<row>-<attempt>` in a folder that front and workers share; each line is a JSON list,
["part", path] before a temporary file is made, ["file", path, number of the file on its disk, its size, its time of
change in ns, id of the node that runs] before it gets its name. So the death of either process, at any moment, loses no
line. A file is removed only while it is that very file: one that somebody put in its place stays. The record of a job
that ended is handed on to those who keep account of what jobs wrote (`executor/written.py`).
"""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path

from executor.context import current
from executor.errors import UnsafePath
from executor.fence import require_encodable
from executor.files import Folders
from executor.numbered import file_names
from executor.settings import Settings
from executor.spares import Spares
from executor.wholefile import write_whole

log = logging.getLogger("weft.dispatcher")

FOLDER = "attempts"
ENDED_FOLDER = "written"
SPARE_FOLDER = "spare_records"
DOOMED = "-doomed"
SHOWN_ROOTS = frozenset({"output", "temp"})


def record_folder(settings: Settings) -> Path:
    """Where the records of a server lie."""
    return settings.folder("user") / FOLDER


def ended_folder(settings: Settings) -> Path:
    """Where records of jobs that ended wait to be taken into account."""
    return settings.folder("user") / ENDED_FOLDER


def spare_folder(settings: Settings) -> Path:
    """Where the files of records lie that serve again."""
    return settings.folder("user") / SPARE_FOLDER


class Attempt:
    """The record of one attempt, written by its worker; a `wholefile.Record`. Its file is made at the first line.

    Files are noted from any thread.
    """

    def __init__(self, folder: Path, row: int, number: int, spares: Spares | None = None) -> None:
        self._folder, self._name, self._spares = folder, f"{row}-{number}", spares
        self._file: FileIO | None = None
        self._known: set[str] = set()
        self._began_ns = 0
        self._lock = threading.Lock()

    @property
    def has_files(self) -> bool:
        """Tell whether anything was recorded."""
        return self._file is not None

    def begin(self, now_ns: int) -> None:
        """The attempt begins; what is older was not written by it."""
        self._began_ns = now_ns

    def part(self, path: Path) -> None:
        """A temporary file is about to be made."""
        self._write(["part", str(path)])

    def made(self, path: Path, written: Path) -> None:
        """What was `written` is about to get, or has, the name `path`."""
        self._note(str(path), os.stat(written))

    def shown(self, output: object, folders: Folders) -> None:
        """A node tells files in its `ui`: those that were written since the attempt began are its own."""
        for path in _named_in(output, folders, self._known):
            with suppress(OSError):
                seen = os.stat(path)
                if stat.S_ISREG(seen.st_mode) and seen.st_mtime_ns >= self._began_ns:
                    self._note(path, seen)

    def close(self) -> None:
        """The attempt is over."""
        if self._file is not None:
            self._file.close()

    def _note(self, path: str, seen: os.stat_result) -> None:
        self._known.add(path)
        self._write(["file", path, seen.st_ino, seen.st_size, seen.st_mtime_ns, current().node_id])

    def _write(self, line: list[object]) -> None:
        """Write a line; where the record cannot be written the file is written all the same, if it can be."""
        try:
            with self._lock:
                if self._file is None:
                    self._file = self._opened()
                self._file.write(json.dumps(line).encode() + b"\n")
        except OSError as error:
            log.warning("what this attempt writes cannot be recorded: %s", error)

    def _opened(self) -> FileIO:
        path = os.path.join(self._folder, self._name)
        if self._spares is not None:
            self._spares.take(path)
        try:
            return FileIO(path, "ab")
        except FileNotFoundError:  # it is the first record of all
            self._folder.mkdir(parents=True, exist_ok=True)
            return FileIO(path, "ab")


class Leftovers:
    """The records of all attempts, read by the front. Its work belongs in a thread.

    With a folder for `ended` ones, what records of jobs that ended say goes there when they are forgotten here; with
    `spares` their files may serve again.
    """

    def __init__(self, folder: Path, ended: Path | None = None, spares: Spares | None = None) -> None:
        self._folder = folder
        self._ended = ended
        self._spares = spares

    def take_stock(self, waiting: Collection[int]) -> set[int]:
        """The waiting rows that have records; records of other rows, whose jobs ended, are forgotten.

        What doomed jobs wrote is removed.
        """
        for row in {row for row, record in self._records() if record.name.endswith(DOOMED)}:
            self.remove(row)
        found = {row for row, _ in self._records()}
        self.forget(found.difference(waiting))
        return found.intersection(waiting)

    def doom(self, row: int) -> None:
        """A job was deleted of which an attempt may still be writing: all that it writes will be removed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{row}{DOOMED}").touch()

    def remove(self, row: int) -> None:
        """Remove the files that lost attempts of a job wrote; what cannot be removed stays, with a warning."""
        for _, record in self._records({row}):
            _remove_all(lines_of(record))
            with suppress(OSError):
                record.unlink()

    def settle(self, row: int, over: Collection[str] | None = None) -> None:
        """A job ends with a lost attempt: its half-written files go, and whole ones of nodes that were not `over` yet.

        None: whole files stay.
        """
        for _, record in self._records({row}):
            _remove_all(line for line in lines_of(record) if line[0] == "part" or _is_open(line, over))
        self.forget({row})

    def forget(self, rows: Collection[int], *, closed: bool = False) -> None:
        """Jobs have ended: their files stay, what their records say is handed on together.

        `closed`: their workers told so, and write no line any more.
        """
        records = [record for _, record in self._records(rows)]
        try:
            if self._ended is not None:
                _hand_on(records, self._ended)
        except OSError as error:  # they stay, and are handed on at the next start
            log.warning("what jobs wrote could not be noted: %s", error)
            return
        for record in records:
            with suppress(OSError):
                if closed and self._spares is not None:
                    self._spares.give(record)
                else:
                    record.unlink()

    def open_files(self) -> set[str]:
        """The paths of all files that attempts wrote whose jobs have not ended."""
        return {path for _, record in self._records() for path, *_ in files_of(record)}

    def _records(self, rows: Collection[int] | None = None) -> Iterator[tuple[int, Path]]:
        """The records of these jobs, or of all."""
        with suppress(FileNotFoundError):  # nothing was written yet
            for name in os.listdir(self._folder):
                number, _, attempt = name.partition("-")
                if attempt and number.isdecimal() and (rows is None or int(number) in rows):
                    yield int(number), self._folder / name


def _hand_on(records: Iterable[Path], folder: Path) -> None:
    """Write what records say into one file; OSError where that, or reading one that is there, fails."""
    text = b""
    for record in records:
        with suppress(FileNotFoundError):
            text += record.read_bytes() + b"\n"
    if text.strip():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{time.time_ns()}-ended", lambda file: file.write(text))


def files_of(record: Path) -> Iterator[tuple[str, int, int]]:
    """The files of a record: path, size, time of change in ns."""
    for line in lines_of(record):
        match line:
            case ["file", str(path), int(), int(size), int(mtime_ns), *_]:
                yield path, size, mtime_ns


def lines_of(record: Path) -> list[list[object]]:
    """The whole lines of a record; its writer may have died in the middle of the last one."""
    try:
        text = record.read_bytes()
    except OSError:
        return []
    found: list[list[object]] = []
    for line in text.split(b"\n"):
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def _is_open(line: list[object], over: Collection[str] | None) -> bool:
    """Tell whether a file is of a node that is known and not among those that are over; None: all are."""
    return over is not None and len(line) > 5 and line[5] not in ("", *over)


def _remove_all(lines: Iterable[list[object]]) -> None:
    """Remove what these lines of a record tell of; what cannot be removed stays, with a warning."""
    for line in lines:
        try:
            _remove(line)
        except (OSError, ValueError, LookupError, TypeError) as error:
            log.warning("what a lost attempt wrote could not be removed (%s): %s", line, error)


def _remove(line: list[object]) -> None:
    path = Path(str(line[1]))
    if line[0] == "part":
        path.unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError):
        if path.stat().st_ino == line[2]:
            path.unlink()
            log.info("removed %s, which a lost attempt wrote", path)


def files_stand(output: object, folders: Folders) -> bool:
    """Tell whether all files are there that a `ui` names in the output and temp folders."""
    return all(os.path.isfile(path) for path in _named_in(output, folders))


def _named_in(output: object, folders: Folders, known: Collection[str] = ()) -> Iterator[str]:
    """The paths of files that a `ui` names in the output and temp folders, there or not, but for those known.

    Every result with files is asked for them in each prompt, so this works on texts.
    """
    for values in output.values() if isinstance(output, Mapping) else ():
        for value in values if isinstance(values, list) else ():
            if not isinstance(value, Mapping) or value.get("type") not in SHOWN_ROOTS:
                continue
            root, subfolder = str(folders.root(value["type"])), str(value.get("subfolder") or "")
            for file in file_names(value):
                name = os.path.join(subfolder, file)
                path = os.path.normpath(os.path.join(root, name))
                if path in known or not path.startswith(root + os.sep):
                    continue
                with suppress(UnsafePath):
                    require_encodable(name)
                    yield path
