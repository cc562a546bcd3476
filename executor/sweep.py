"""Removes the oldest files of a folder where they are too old, too many or too large. Knows no queue and no HTTP.

It works in steps of bounded work, so that nobody waits for it. A file goes only if nothing speaks for it: it is no
file of a job that waits or runs, none that such a job names, none that is young, and no symbolic link leads to it.
Folders stay: a node may be about to write there.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from executor.keeping import Keep
from executor.written import Account, Written, normal

log = logging.getLogger("weft.retention")

STEP = 200  # files looked at in one step
YOUNG_NS = 60 * 10**9
"""A file of this age stays whatever the bounds say: a client that was just told of it may be about to fetch it."""
PART_LEFT_NS = 24 * 3600 * 10**9  # a half-written file of this age is nobody's any more
_PART = re.compile(r"\.[0-9a-f]{32}\.part")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """What was removed, or would be: its folder's name, its path below that, its size, its age, whose it was.

    The `owner` is the name of a key's own folders; "" where nobody's own is meant.
    """

    folder: str
    name: str
    nbytes: int
    age_s: float
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """What jobs that wait or run need: names they mention, files they wrote, when the oldest running one began."""

    names: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    since_ns: int | None = None

    def needs(self, path: Path, name: str) -> bool:
        """Tell whether a job wrote a file, or names it or a folder it lies in (`name`: its path in the data folder)."""
        return str(path) in self.files or not self.names.isdisjoint(os.path.normcase(name).split(os.sep))


class _Surplus:
    """What is too much among files that are looked at from the oldest on."""

    def __init__(self, keep: Keep, count: int, nbytes: int, now_ns: int) -> None:
        self._keep, self._count, self._nbytes, self._now_ns = keep, count, nbytes, now_ns

    def takes(self, mtime_ns: int, nbytes: int) -> bool:
        """Tell whether the next file is too much; it then counts no more, even if something speaks for it."""
        keep, age_ns = self._keep, self._now_ns - mtime_ns
        if age_ns < YOUNG_NS:
            return False
        is_due = (
            (keep.age_s is not None and age_ns > keep.age_s * 1e9)
            or (keep.count is not None and self._count > keep.count)
            or (keep.nbytes is not None and self._nbytes > keep.nbytes)
        )
        if is_due:
            self._count -= 1
            self._nbytes -= nbytes
        return is_due

    @property
    def may_be(self) -> bool:
        """Tell whether there are more, or larger, files than may stay."""
        keep = self._keep
        return (keep.count is not None and self._count > keep.count) or (
            keep.nbytes is not None and self._nbytes > keep.nbytes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One sweep through a data folder called `folder`; a `dry` one removes nothing and says what would go."""

    folder: str
    root: Path
    keep: Keep
    busy: Callable[[], Busy]
    dry: bool = False

    def written(self, account: Account) -> Iterator[list[Gone]]:
        """Files that jobs wrote, as an account has them; the steps, each with what went."""
        now_ns = time.time_ns()
        if not self.keep.is_bounded or not self.root.is_dir():
            return
        if _Surplus(self.keep, *account.total(), now_ns).may_be:
            yield from self._checked(account)
        surplus = _Surplus(self.keep, *account.total(), now_ns)
        last: Written | None = None
        while page := account.page(last, STEP):
            due = [file for file in page if surplus.takes(file.mtime_ns, file.nbytes)]
            yield self._go(account, due, now_ns)
            if len(due) < len(page):
                return
            last = page[-1]

    def everything(self, *below: str) -> Iterator[list[Gone]]:
        """Every file of the folder, or of some below it together; the steps, each with what went."""
        now_ns = time.time_ns()
        found: list[tuple[int, int, Path]] = []
        tops = [self.root / name for name in below or ("",)] if self.keep.is_bounded else []
        for path, seen in (file for top in tops for file in _files(self.root, top)):
            found.append((seen.st_mtime_ns, seen.st_size, path))
            if len(found) % STEP == 0:
                yield []
        found.sort()
        surplus = _Surplus(self.keep, len(found), sum(size for _, size, _ in found), now_ns)
        due = [file for file in found if surplus.takes(file[0], file[1])]
        for start in range(0, len(due), STEP):
            busy = self.busy()
            gone = []
            for mtime_ns, size, path in due[start : start + STEP]:
                is_part = _PART.match(path.name) and now_ns - mtime_ns < PART_LEFT_NS
                at_work = busy.since_ns is not None and mtime_ns >= busy.since_ns
                name = path.relative_to(self.root).as_posix()
                if not is_part and not at_work and not busy.needs(path, name) and self._remove(path):
                    gone.append(Gone(folder=self.folder, name=name, nbytes=size, age_s=(now_ns - mtime_ns) / 1e9))
            yield gone

    def _checked(self, account: Account) -> Iterator[list[Gone]]:
        """Forget what is gone, or is no longer what a job wrote, so that only what is there counts."""
        last: Written | None = None
        while page := account.page(last, STEP):
            if not self.dry:
                account.forget(file for file in page if not self._is_as_left(file))
            yield []
            last = page[-1]

    def _go(self, account: Account, due: Iterable[Written], now_ns: int) -> list[Gone]:
        busy, gone, over = self.busy(), [], []
        for file in due:
            path = self.root / file.name
            if not self._is_as_left(file):
                over.append(file)
            elif not busy.needs(path, file.name) and self._remove(path):
                age_s = (now_ns - file.mtime_ns) / 1e9
                gone.append(Gone(folder=self.folder, name=file.name, nbytes=file.nbytes, age_s=age_s))
                over.append(file)
        if not self.dry:
            account.forget(over)
        return gone

    def _is_as_left(self, file: Written) -> bool:
        """Tell whether a file is what its job left; what cannot be looked at counts so, and will not be removed."""
        try:
            seen = (self.root / file.name).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            return error.errno != errno.ENAMETOOLONG  # no file bears such a name
        return stat.S_ISREG(seen.st_mode) and (seen.st_size, seen.st_mtime_ns) == (file.nbytes, file.mtime_ns)

    def _remove(self, path: Path) -> bool:
        try:
            if not is_plain(self.root, path):
                return False
            if not self.dry:
                path.unlink()
        except OSError as error:
            log.warning("%s could not be removed: %s", path, error)
            return False
        return True


def is_plain(root: Path, path: Path) -> bool:
    """Tell whether a path below a folder passes no symbolic link, nor ends in one; the folder itself may be one."""
    below = normal(path.parent).relative_to(normal(root))
    return not path.is_symlink() and Path(os.path.realpath(path.parent)) == Path(os.path.realpath(root)) / below


def _files(root: Path, top: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """All plain files below a folder, without following links."""
    folders = [top] if top == root or (is_plain(root, top) and top.is_dir()) else []
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    yield Path(entry.path), entry.stat(follow_symlinks=False)
            except OSError:
                continue
