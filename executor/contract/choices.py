"""What an input may be chosen from at this moment. Knows folders, no node classes."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping

from executor.contract.definition import Assembled, Choices, FileChoices
from executor.files import Folders

Scalar = str | int | float | bool | None

FILES_KEY = "$files"
"""The key that marks, in listings kept as data, a list of choices to be read from disk."""

FOLDERS = "folders"
"""The content that lists the folders within the input folder instead of its files."""

NO_PICTURES = frozenset({"clipspace"})
"""Folders of the input folder that hold what clients keep for themselves."""

_EXTRA_KINDS = {".webp": "image", ".avif": "image", ".jxl": "image", ".webm": "video", ".mkv": "video",
                ".flac": "audio", ".opus": "audio", ".m4a": "audio"}  # fmt: skip


def listed(choices: Choices, folders: Folders) -> list[Scalar]:
    """The choices as they stand on disk now; an unknown kind of file lists nothing but the fixed ones."""
    if not isinstance(choices, FileChoices):
        return list(choices.values)
    if choices.source == "input" and choices.content == FOLDERS:
        names = [name for name in folders.folders("input") if name not in NO_PICTURES]
    elif choices.source == "input":
        names = [name for name in folders.files("input") if is_content(name, choices.content)]
    else:
        names = folders.names(choices.source) if choices.source in folders.kinds() else []
        if choices.content:  # folders count by a file that they hold
            names = [name for name in names if folders.find(choices.source, f"{name}/{choices.content}")]
    whole = [each.name for each in choices.assembled if is_whole(each, folders)]
    return [*choices.before, *names, *whole, *choices.after]


def is_whole(choice: Assembled, folders: Folders) -> bool:
    """Whether every file is there that a choice is made of."""
    names = folders.names(choice.source) if choice.source in folders.kinds() else []
    return all(any(name.startswith(start) for name in names) for start in choice.starts)


def is_content(name: str, content: str) -> bool:
    """Tell by its ending whether a file is of a media kind ("image,video"), or ends so (".latent"); "" takes all."""
    if not content:
        return True
    suffix = "." + name.rpartition(".")[2].lower() if "." in name else ""
    kind = _EXTRA_KINDS.get(suffix) or (mimetypes.guess_type(name, strict=False)[0] or "").partition("/")[0]
    wanted = {part.strip() for part in content.split(",")}
    return kind in wanted or suffix in wanted


def to_marker(choices: FileChoices) -> dict[str, object]:
    """The placeholder of a list of files in data that is kept."""
    return {
        FILES_KEY: {
            "source": choices.source,
            "before": list(choices.before),
            "after": list(choices.after),
            "content": choices.content,
            "assembled": [[each.name, each.source, list(each.starts)] for each in choices.assembled],
        }
    }


def of_marker(value: object) -> FileChoices | None:
    """The files a placeholder stands for, or None if `value` is something else."""
    if not isinstance(value, Mapping) or len(value) != 1 or not isinstance(value.get(FILES_KEY), Mapping):
        return None
    told = value[FILES_KEY]
    return FileChoices(
        source=str(told["source"]),
        before=tuple(told["before"]),
        after=tuple(told["after"]),
        content=str(told["content"]),
        assembled=tuple(Assembled(name, source, tuple(starts)) for name, source, starts in told.get("assembled", ())),
    )
