"""Listings and details of a user's files. Knows no users and no requests; its work belongs in a thread."""

from __future__ import annotations

import os
from pathlib import Path

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


def listed_in(folder: Path, *, recurse: bool, full_info: bool, split: bool) -> list[object]:
    """The files of a folder by path from it: as texts, as [path, part, part ...], or with details (which wins)."""
    paths = sorted(path for path in folder.glob("**/*" if recurse else "*") if path.is_file())
    if full_info:
        return [file_info(path, folder) for path in paths]
    names = [path.relative_to(folder).as_posix() for path in paths]
    return [[name, *name.split("/")] for name in names] if split else list(names)


def listed_below(folder: Path, root: Path) -> list[dict[str, object]]:
    """Everything below a folder, folders first, then by name; paths are from `root`."""
    found: list[dict[str, object]] = []
    for parent, directories, files in os.walk(folder):
        for name in directories:
            path = (Path(parent) / name).relative_to(root).as_posix()
            found.append({"name": name, "path": path, "type": "directory"})
        for name in files:
            file = Path(parent) / name
            stat = file.stat()
            told = {"name": name, "path": file.relative_to(root).as_posix(), "type": "file"}
            found.append({**told, "size": stat.st_size, "modified": stat.st_mtime})
    return sorted(found, key=lambda item: (item["type"] != "directory", str(item["name"]).lower()))


def store_file(path: Path, body: bytes, *, overwrite: bool) -> bool:
    """Write a file in one step, making its folders; False if it is there and must not be replaced."""
    if not overwrite and path.exists():
        return False
    write_bytes(path, body)
    return True
