"""Paths of this machine in texts for clients, as short as clients know them. Knows no request and no prompt."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from executor.files import ROOTS, Folders
from executor.settings import Settings

PROGRAM = Path(__file__).resolve().parents[1]
_WITHIN = r"[\w.+~-]"  # what names of folders go on with


class ShortPaths:
    """Replaces what data folders, models, packs and programs are called here; without keys texts stay as they are.

    Whoever needs no key has the machine's own user beside them; keys are for others, whom its folders do not concern.
    """

    def __init__(self, settings: Settings, folders: Folders) -> None:
        """`folders` are those of the server, or of one owner, whose own names its files then have."""
        self._names: dict[str, str] = {}
        if settings.auth_token is not None or settings.auth_keys is not None:
            for path, name in _known(settings, folders):
                for text in {str(path), os.path.realpath(path)}:
                    if text != os.sep:
                        self._names.setdefault(text, name)
        longest = sorted(self._names, key=len, reverse=True)
        self._pattern = _any_of(longest) if longest else None

    def text(self, text: str) -> str:
        """A text in which known folders are short."""
        return text if self._pattern is None else self._pattern.sub(self._short, text)

    def words(self, argv: Iterable[str]) -> list[str]:
        """The words of a command line; of a path to anywhere else only its last name is left."""
        if self._pattern is None:
            return list(argv)
        return [_last_name(self.text(word)) for word in argv]

    def value(self, value: object) -> object:
        """The same for every text in a JSON value."""
        if self._pattern is None:
            return value
        match value:
            case str():
                return self.text(value)
            case dict():
                return {key: self.value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
        return value

    def _short(self, found: re.Match[str]) -> str:
        path = found[0].removesuffix("/")
        name = self._names[path]
        below = found[0] != path
        return name + "/" if name and below else name or ("" if below else ".")


def _last_name(word: str) -> str:
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return flag + equals + (Path(value).name if os.path.isabs(value) else value)


def _any_of(paths: Iterable[str]) -> re.Pattern[str]:
    return re.compile(f"(?<!{_WITHIN})(?:{'|'.join(map(re.escape, paths))})(?!{_WITHIN})/?")


def _known(settings: Settings, folders: Folders) -> Iterator[tuple[Path, str]]:
    """Folders and what clients call them; the first name of a folder counts."""
    for root in ROOTS:
        yield folders.root(root), root
        yield settings.folder(root), root
    yield folders.user, "user"
    yield settings.folder("user"), "user"
    yield folders.models, "models"
    for kind in folders.kinds():
        for path in folders.paths(kind):
            yield path, "custom_nodes" if kind == "custom_nodes" else f"models/{kind}"
    yield folders.base, ""
    yield PROGRAM, ""
    yield from ((Path(prefix), "python") for prefix in (sys.prefix, sys.base_prefix))
    yield Path.home(), "~"
