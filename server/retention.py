"""Keeps outputs, temporary files, fetched inputs and the history within their bounds, while the server works.

Knows which jobs need what; what is removed within a folder is `executor/sweep.py`'s business.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol

from executor.contract.uploads import STORED
from executor.errors import BadInput
from executor.files import Folders, split_root
from executor.keeping import Keep, keep_of, size_text
from executor.leftovers import Leftovers, ended_folder, record_folder
from executor.own_folders import BELOW, folder_name, owner_of
from executor.queue.ageing import Ageing
from executor.queue.job import Job, now_ms
from executor.settings import Settings
from executor.sweep import Busy, Gone, Sweep
from executor.written import ACCOUNT_FILE, Account, ended_records

log = logging.getLogger("weft.retention")

HISTORY = "history"
ROUND_S = 60.0  # between two rounds
PAUSE_S = 0.02  # between two steps of a round: others want the disk too
STEP = 200  # records in one step
MOST_RECORDS = 100_000  # in one round


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeps:
    """The bounds of everything that is kept."""

    outputs: Keep
    temp: Keep
    inputs: Keep
    history: Keep


def keeps_of(settings: Settings) -> Keeps:
    """The bounds that the settings give."""
    return keeps_told({}, settings)


def keeps_told(told: Mapping[str, object], settings: Settings) -> Keeps:
    """Bounds as JSON brings them, a list of words for each thing that is kept; the settings' where it brings none.

    Raises BadInput naming what cannot be understood.
    """
    found: dict[str, Keep] = {}
    usual = {field.name: getattr(settings, f"keep_{field.name}") for field in fields(Keeps)}
    if unknown := set(told).difference(usual):
        raise BadInput(f"nothing is kept by the name {min(unknown)!r}: only {', '.join(usual)}")
    for name, words in usual.items():
        given = told.get(name)
        given = [given] if isinstance(given, str) else words if given is None else given
        if not isinstance(given, list | tuple) or not all(isinstance(word, str) for word in given):
            raise BadInput(f"keep.{name} is a list of bounds such as ['30d', '20GB'], not {given!r}")
        try:
            found[name] = keep_of(given)
        except ValueError as error:
            raise BadInput(f"keep.{name}: {error}") from error
    return Keeps(**found)


def bounds_text(settings: Settings) -> str:
    """The bounds that hold, in one line."""
    kept = {field.name: getattr(settings, f"keep_{field.name}") for field in fields(Keeps)}
    return "; ".join(f"{name} {', '.join(words) or 'all'}" for name, words in kept.items())


def removed_text(folder: str, count: int) -> str:
    """How many files of a folder, or entries of the history, in words."""
    if folder == HISTORY:
        return f"{count} {'entry' if count == 1 else 'entries'} of the history"
    return f"{count} {'file' if count == 1 else 'files'} from {folder}"


class Tally(Protocol):
    """Where removals are counted."""

    def removed(self, folder: str, files: int, nbytes: int) -> None:
        """Count files, or entries, that were removed."""
        ...


class Retention:
    """The bounds of one server's folders and history; `jobs` are those that wait or run."""

    def __init__(
        self,
        settings: Settings,
        folders: Folders,
        ageing: Ageing,
        jobs: Callable[[], Iterable[Job]],
        tally: Tally | None = None,
    ) -> None:
        self.keeps = keeps_of(settings)
        self._settings = settings
        self._folders = folders
        self._ageing = ageing
        self._busy = _Needs(jobs, Leftovers(record_folder(settings)))
        self._tally = tally
        self._turn = asyncio.Lock()
        self._rounds: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Make a round now, and one every minute."""
        self._rounds = asyncio.create_task(self._go_on(), name="weft-retention")

    async def close(self) -> None:
        """Make no more rounds."""
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.gather(self._rounds, return_exceptions=True)

    async def clean(self, keeps: Keeps, *, dry: bool = False) -> list[Gone]:
        """One round: remove what is too much, the oldest first; a `dry` one only tells what that is.

        Raises sqlite3.Error or OSError when the account of written files cannot be used.
        """
        async with self._turn:
            gone = [replace(one, owner=owner_of(one.name)) for one in await self._files(keeps, dry=dry)]
            entries = await self._ageing.forget(keeps.history, now_ms(), dry=dry)
            for entry in entries:
                age_s = (now_ms() - entry.ended_ms) / 1000
                owner = folder_name(entry.owner) if entry.owner else ""
                gone.append(Gone(folder=HISTORY, name=entry.id, nbytes=entry.nbytes, age_s=age_s, owner=owner))
        if gone and not dry:
            self._tell(gone)
        return gone

    async def _go_on(self) -> None:
        while True:
            try:
                await self.clean(self.keeps)
            except (OSError, sqlite3.Error):
                log.exception("what is too old could not be removed; the next try is in %g s", ROUND_S)
            await asyncio.sleep(ROUND_S)

    async def _files(self, keeps: Keeps, *, dry: bool) -> list[Gone]:
        gone: list[Gone] = []
        account = await asyncio.to_thread(self._open)
        with closing(account):
            for steps in (self._intake(account), *self._sweeps(account, keeps, dry=dry)):
                while (step := await asyncio.to_thread(next, steps, None)) is not None:
                    gone += step
                    await asyncio.sleep(PAUSE_S if step else 0)
        return gone

    def _open(self) -> Account:
        return Account(self._folders.user / ACCOUNT_FILE, self._folders.root("output"))

    def _intake(self, account: Account) -> Iterator[list[Gone]]:
        """Take what jobs wrote into account."""
        records = ended_records(ended_folder(self._settings), MOST_RECORDS)
        for start in range(0, len(records), STEP):
            account.take(records[start : start + STEP])
            yield []

    def _sweeps(self, account: Account, keeps: Keeps, *, dry: bool) -> Iterator[Iterator[list[Gone]]]:
        def sweep(folder: str, root: Path, keep: Keep) -> Sweep:
            return Sweep(folder=folder, root=root, keep=keep, busy=self._busy, dry=dry)

        roots = self._folders
        yield sweep("output", roots.root("output"), keeps.outputs).written(account)
        yield sweep("temp", roots.root("temp"), keeps.temp).everything()
        inputs = roots.root("input")
        own = (path.relative_to(inputs).as_posix() for path in inputs.glob(f"{BELOW}/*/{STORED}"))
        yield sweep("input", inputs, keeps.inputs).everything(STORED, *own)

    def _tell(self, gone: Iterable[Gone]) -> None:
        files, nbytes = Counter[str](), Counter[str]()
        for one in gone:
            files[one.folder] += 1
            nbytes[one.folder] += one.nbytes
        for folder, count in files.items():
            if self._tally is not None:
                self._tally.removed(folder, count, nbytes[folder])
            log.info("too much: removed %s, %s", removed_text(folder, count), size_text(nbytes[folder]))


class _Needs:
    """What jobs need; a prompt is read once, however often this is asked. Called in threads."""

    def __init__(self, jobs: Callable[[], Iterable[Job]], leftovers: Leftovers) -> None:
        self._jobs = jobs
        self._leftovers = leftovers
        self._names: dict[int, frozenset[str]] = {}  # by row

    def __call__(self) -> Busy:
        jobs = list(self._jobs())
        known = {job.row: self._names.get(job.row) or frozenset(_mentioned(job.prompt_json)) for job in jobs}
        self._names = known
        began = [job.started_ms for job in jobs if job.state == "running" and job.started_ms is not None]
        return Busy(
            names=frozenset().union(*known.values()),
            files=frozenset(self._leftovers.open_files()),
            since_ns=min(began) * 10**6 if began else None,
        )


def _mentioned(prompt_json: bytes) -> Iterator[str]:
    """The last parts of all texts of a prompt that may be paths, as the file system compares names."""
    open_values: list[object] = [json.loads(prompt_json)]
    while open_values:
        match open_values.pop():
            case str(text) if text:
                path = split_root(text)[0].replace("\\", "/").rstrip("/ ")
                yield os.path.normcase(path.rpartition("/")[2])
            case dict(inner):
                open_values += inner.values()
            case list(inner):
                open_values += inner
            case _:
                pass
