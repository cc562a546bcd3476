"""Listings and details of a user's files. Knows no users and no requests; its work belongs in a thread."""

from __future__ import annotations

import os
from pathlib import Path

from executor.fence import Fence
from server.users import write_bytes


def file_info(path: Path, root: Path) -> dict[str, object]:
    """Path from `root`, size in bytes, times of change and creation in seconds."""
    stat = path.stat()
    return {
        "path": path.relative_to(root).as_posix(),
        "size": stat.st_size,
        "modified": stat.st_mtime,
        "created": stat.st_ctime,
    }


def listed_in(folder: Path, fence: Fence, *, recurse: bool, full_info: bool, split: bool) -> list[object]:
    """The files of a folder by path from it: as texts, as [path, part, part ...], or with details (which wins).

    Links that lead out of the server's folders, or nowhere, are left out.
    """
    found = sorted(folder.glob("**/*" if recurse else "*"))
    paths = [path for path in found if path.is_file() and _is_shown(path, fence)]
    if full_info:
        return [info for path in paths if (info := _told(path, folder)) is not None]
    names = [path.relative_to(folder).as_posix() for path in paths]
    return [[name, *name.split("/")] for name in names] if split else list(names)


def listed_below(folder: Path, root: Path, fence: Fence) -> list[dict[str, object]]:
    """Everything below a folder but links that lead outside, folders first, then by name; paths are from `root`."""
    found: list[dict[str, object]] = []
    for parent, directories, files in os.walk(folder):
        for name in directories:
            path = Path(parent) / name
            if _is_shown(path, fence):
                found.append({"name": name, "path": path.relative_to(root).as_posix(), "type": "directory"})
        for name in files:
            file = Path(parent) / name
            told = _told(file, root) if _is_shown(file, fence) else None
            if told is not None:
                del told["created"]
                found.append({"name": name, "type": "file", **told})
    return sorted(found, key=lambda item: (item["type"] != "directory", str(item["name"]).lower()))


def _is_shown(path: Path, fence: Fence) -> bool:
    return not path.is_symlink() or fence.holds(path)


def _told(path: Path, root: Path) -> dict[str, object] | None:
    """As `file_info`; None for a file that has gone, or a link to none."""
    try:
        return file_info(path, root)
    except OSError:
        return None


def store_file(path: Path, body: bytes, *, overwrite: bool) -> bool:
    """Write a file in one step, making its folders; False if it is there and must not be replaced."""
    if not overwrite and path.exists():
        return False
    write_bytes(path, body)
    return True
