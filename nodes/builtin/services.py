"""The worker's services as built-in nodes see them: settings, folders, memory. Knows not who made them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from executor import context
from executor.errors import ModelFileError, UnsafePath, nearest
from executor.files import Folders
from executor.settings import Settings
from executor.wholefile import Record
from nodes import bridge

if TYPE_CHECKING:
    from executor.inference.memory import Memory


class Services(Protocol):
    """What a node may reach beyond its inputs."""

    @property
    def settings(self) -> Settings:
        """What the user decided at the start."""
        ...

    @property
    def folders(self) -> Folders:
        """Where files lie."""
        ...

    @property
    def memory(self) -> Memory:
        """Which models are where."""
        ...


def services() -> Services:
    """The services of the running call; RuntimeError outside a worker."""
    found = running()
    if found is None:
        raise RuntimeError("this node needs a running worker: its services are not there")
    return found


def running() -> Services | None:
    """The services of the running call; None outside a worker."""
    return cast("Services | None", context.current().services or bridge.ambient())


def attempt() -> Record | None:
    """Where the files that the running job writes are noted; None outside a prompt."""
    line = getattr(context.current().services or bridge.ambient(), "line", None)
    found: Record | None = getattr(line, "attempt", None)
    return found


def model_path(kind: str, name: str, field: str) -> Path:
    """The path of a model file chosen in the input `field`; ModelFileError with the nearest name if it is gone."""
    folders = services().folders
    path = folders.find(kind, name)
    if path is not None:
        return path
    near = nearest(name, [other for other in folders.names(kind) if other != name])  # a broken link is listed too
    raise ModelFileError(
        name, f"input {field!r}: no such file among the {kind}", f"did you mean {near!r}?" if near else ""
    )


def input_path(name: str, field: str) -> Path:
    """The path of a file of the data folders chosen in the input `field`; FileNotFoundError with the nearest name."""
    folders = services().folders
    path = folders.resolve(name)
    if path.is_file():
        return path
    near = nearest(name, folders.files("input"))
    hint = f"; did you mean {near!r}?" if near else ""
    raise FileNotFoundError(f"input {field!r}: no such file {name!r}{hint}")


def check_input_file(name: str, kind: str) -> bool | str:
    """True when a data file of that name is there, else the text that clients get."""
    try:
        found = services().folders.resolve(name).is_file()
    except UnsafePath:
        found = False
    return found or f"Invalid {kind} file: {name}"


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
