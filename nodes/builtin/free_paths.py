"""Paths that people write into nodes instead of choosing a file. Knows which ones may be read.

A prompt may come from anybody who reaches the server. One that listens on this machine alone reads any path, as the
packs do that such nodes come from; one that others are to reach (`Settings.is_shared`: it listens to them, has keys, or
a name for a proxy), or that has VHS_STRICT_PATHS set, reads its data folders.
"""

from __future__ import annotations

import os
from pathlib import Path

from executor.errors import UnsafePath
from executor.files import ROOTS, Folders
from nodes.builtin.services import services


def written_path(text: str, field: str) -> Path:
    """The absolute path that a text means: as it is, or below the base or input folder.

    FileNotFoundError when nothing is there, UnsafePath when it may not be read or is an address.
    """
    cleaned = text.strip().strip('"').strip()
    if not cleaned:
        raise FileNotFoundError(f"input {field!r}: the path is empty")
    if "://" in cleaned:
        raise UnsafePath(f"input {field!r}: addresses are not fetched; upload the file and choose it")
    folders = services().folders
    candidates = [folders.base / cleaned, folders.root("input") / cleaned]  # an absolute path stays itself
    found = next((path for path in candidates if path.exists()), None)
    meant = found if found is not None else candidates[0]
    path = Path(os.path.realpath(meant))
    if is_strict() and not _may_be_read(path, Path(os.path.normpath(meant)), folders):
        raise UnsafePath(f"input {field!r}: {cleaned!r} is outside the input, output and temp folders of this server")
    if found is None:
        raise FileNotFoundError(f"input {field!r}: there is no {cleaned!r}")
    return path


def is_strict() -> bool:
    """Tell whether only the data folders may be read."""
    return bool(os.environ.get("VHS_STRICT_PATHS") or services().settings.is_shared())


def _may_be_read(real: Path, written: Path, folders: Folders) -> bool:
    """Tell whether a path lies in a data folder: as its links lead, or with --follow-symlinks as it is written."""
    roots = [folders.root(root) for root in ROOTS]
    if folders.fence.follow and any(root in (written, *written.parents) for root in roots):
        return folders.fence.holds(real)
    return any(_below(real, root) for root in roots)


def _below(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(folder)) in (path, *path.parents)
