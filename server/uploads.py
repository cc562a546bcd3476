"""Stores uploaded files: safe names, numbers for taken ones, pictures joined with masks. Knows no requests."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from executor.errors import BadInput, UnsafePath
from executor.fence import require_fit
from executor.files import ROOTS, Folders, Root, inside, split_root
from server.media import with_alpha_of
from server.users import write_bytes

log = logging.getLogger("weft.front")


LONGEST_REFERENCE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One uploaded file and where its sender wants it."""

    name: str
    body: bytes
    root: Root = "input"
    subfolder: str = ""
    overwrite: bool = False


class Uploads:
    """Writes uploads into the data folders, one at a time. Its work belongs in a thread."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._lock = threading.Lock()

    def store(self, upload: Upload) -> str:
        """Store a file and return the name it got.

        A taken name keeps its file when the bytes are the same, else the new file gets a number.
        Raises BadInput for an empty name or a missing folder, UnsafePath for a place outside the data folder.
        """
        return self._store(upload, lambda path: write_bytes(path, upload.body))

    def store_mask(self, upload: Upload, original: Mapping[str, object]) -> str:
        """Store the picture that `original` names with the alpha of the upload, and return the name it got.

        Nothing is stored when the original is missing or outside its folder, as clients know it.
        """

        def join(path: Path) -> None:
            source = self._original(original)
            if source is None:
                log.warning("mask %s: its original %s is not there; nothing was stored", upload.name, dict(original))
                return
            write_bytes(path, with_alpha_of(source, upload.body, path.suffix))

        return self._store(upload, join)

    def _store(self, upload: Upload, write: Callable[[Path], None]) -> str:
        if not upload.name:
            raise BadInput("the uploaded file has no name")
        with self._lock:
            name = upload.name
            path = self._path(upload, name)
            if not upload.overwrite:
                stem, ending = os.path.splitext(upload.name)
                number = 0
                while path.exists():
                    if path.is_file() and path.read_bytes() == upload.body:
                        return name
                    number += 1
                    name = f"{stem} ({number}){ending}"
                    path = self._path(upload, name)
            write(path)
        return name

    def _path(self, upload: Upload, name: str) -> Path:
        root = self._folders.root(upload.root)
        folder = self._folders.place(root, upload.subfolder)
        require_fit(name)
        path = self._folders.fence.require(inside(root, str(folder / name)))
        if path in (root, folder) or path.is_dir():
            raise BadInput(f"{name!r} names a folder, not a file")
        folder.mkdir(parents=True, exist_ok=True)
        if not path.parent.is_dir():
            raise BadInput(f"{name!r}: there is no folder {path.parent.relative_to(root).as_posix()!r}")
        return path

    def _original(self, reference: Mapping[str, object]) -> Path | None:
        name, root = split_root(str(reference["filename"]))
        wanted = root or as_root(str(reference.get("type") or "output"))
        try:
            if name.startswith("/") or ".." in name:
                raise UnsafePath(f"{name!r} leads outside its folder")
            folder = inside(self._folders.root(wanted), str(reference.get("subfolder") or ""))
            path = self._folders.fence.require(inside(folder, Path(name).name))
        except UnsafePath as error:
            log.warning("original of a mask: %s", error)
            return None
        return path if path.is_file() else None


def as_root(text: str) -> Root:
    """The data folder of that name; BadInput if there is none."""
    for root in ROOTS:
        if root == text:
            return root
    raise BadInput(f"there is no folder type {text!r}; there are {', '.join(ROOTS)}")


def read_reference(text: str) -> dict[str, object]:
    """The `original_ref` field of a mask upload; BadInput if it names no file."""
    try:
        value = json.loads(text) if len(text) <= LONGEST_REFERENCE else None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"original_ref is not valid JSON: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("filename"), str) or not value["filename"]:
        raise BadInput("original_ref must be a JSON object with a filename")
    return value
