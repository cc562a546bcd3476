"""Where symbolic links of the data folders may lead, and which names new files may have. Knows no kinds of models."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from executor.errors import UnsafePath

DESCRIPTORS = "/proc/self/fd"
"""Where Linux shows the files that a process has open, each as a link to what was opened."""
WINDOWS_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
)


@dataclass(frozen=True, slots=True)
class Fence:
    """The folders that links may lead to; `follow`: they may lead anywhere (--follow-symlinks).

    But never into `closed` folders, where those are not among the first: they are others'.
    """

    roots: Callable[[], Iterable[Path]]
    follow: bool = False
    closed: Callable[[], Iterable[Path]] | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether there is no fence at all."""
        return self.follow and self.closed is None

    def holds(self, path: Path) -> bool:
        """Tell whether a path, its links followed, lies in one of the folders; it need not be there."""
        return self.is_open or self._holds_real(os.path.realpath(path))

    def require(self, path: Path) -> Path:
        """The path, if `holds` says so, else UnsafePath."""
        if not self.holds(path):
            raise self._refusal(path)
        return path

    def open(self, path: Path) -> int:
        """A descriptor to read a regular file by, which is the file that was looked at: links may change meanwhile.

        UnsafePath where it lies outside; FileNotFoundError for no file, or what is none (a folder, a pipe, a device).
        """
        self.require(path)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags)  # not blocking: a pipe without a writer would hold the thread
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise FileNotFoundError(errno.ENOENT, "no file", str(path))
            if not self.is_open and not self._holds_real(opened_path(handle) or os.path.realpath(path)):
                raise self._refusal(path)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _holds_real(self, real: str) -> bool:
        if any(is_below(real, os.path.realpath(root)) for root in self.roots()):
            return True
        closed = self.closed() if self.closed is not None else ()
        return self.follow and not any(is_below(real, os.path.realpath(folder)) for folder in closed)

    def _refusal(self, path: Path) -> UnsafePath:
        if self.follow:
            return UnsafePath(f"{path.name!r} leads into others' folders by a symbolic link")
        return UnsafePath(
            f"{path.name!r} leads out of this server's folders by a symbolic link; --follow-symlinks lets it"
        )


def opened_path(handle: int) -> str | None:
    """The real path of an open file; None where the system does not tell."""
    try:
        return os.readlink(f"{DESCRIPTORS}/{handle}")
    except OSError:
        return None


def is_below(path: str, folder: str) -> bool:
    """Tell whether a normalised absolute path is a folder or lies below it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def require_encodable(name: str) -> None:
    """Refuse (UnsafePath) a name that no file can have: with a zero character, or that the system cannot write down."""
    if "\0" in name:
        raise UnsafePath("a file name cannot hold a zero character")
    try:
        os.fsencode(name)
    except UnicodeEncodeError as error:
        raise UnsafePath(f"{name!r} holds characters that no file name can hold") from error


def require_fit(name: str, *, windows: bool = os.name == "nt") -> None:
    """Refuse (UnsafePath) a name for a new file, perhaps with folders, that would hurt.

    Such as one with control characters, one that leads outside where `\\` parts folders, or on Windows a device.
    """
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        raise UnsafePath(f"{name!r} holds control characters")
    require_encodable(name)
    there = PureWindowsPath(name)
    if "\\" in name and (there.drive or there.root or ".." in there.parts):
        raise UnsafePath(f"{name!r} leads outside its folder")
    if windows and (":" in name or any(_is_odd_on_windows(part) for part in there.parts)):
        raise UnsafePath(f"{name!r} cannot be a file's name on Windows")


def _is_odd_on_windows(part: str) -> bool:
    return part.partition(".")[0].rstrip(" ").lower() in WINDOWS_DEVICES or part != part.rstrip(". ")
