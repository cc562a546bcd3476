"""Reads extra_model_paths.yaml: more folders for kinds of models. Knows the file's form, not what lies in the folders.

Each top-level section may have `base_path` (`~` and variables are expanded; relative to the file otherwise) and
`is_default` (its folders are searched first); every other key is a kind of model with one folder a line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from executor.errors import BadInput


@dataclass(frozen=True, slots=True)
class ExtraPath:
    """One more folder for a kind of model."""

    kind: str
    path: Path
    first: bool


def read_extra_paths(file: Path) -> list[ExtraPath]:
    """The folders that a file names, in its order; BadInput when it cannot be read or has another form."""
    import yaml  # only who has such a file pays for the import

    try:
        sections = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{file}: cannot be read as a list of model folders: {error}") from error
    if not isinstance(sections, Mapping):
        raise BadInput(f"{file}: needs named sections, each with a folder for every kind of model")
    return [path for name, section in sections.items() for path in _section(file, str(name), section)]


def _section(file: Path, name: str, section: object) -> Iterator[ExtraPath]:
    if section is None:
        return
    if not isinstance(section, Mapping):
        raise BadInput(f"{file}: section {name!r} must name kinds of models and their folders")
    base = file.absolute().parent / _expanded(section.get("base_path", "."))
    first = bool(section.get("is_default", False))
    for kind, folders in section.items():
        if kind in ("base_path", "is_default") or folders is None:
            continue
        if not isinstance(folders, str):
            raise BadInput(f"{file}: {name}/{kind} must be folders, one a line, not {type(folders).__name__}")
        for line in filter(None, map(str.strip, folders.splitlines())):
            yield ExtraPath(str(kind), Path(os.path.normpath(base / _expanded(line))), first)


def _expanded(path: object) -> str:
    return os.path.expandvars(os.path.expanduser(str(path)))
