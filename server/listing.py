"""JSON text with holes for lists of files, which are filled when it is shown. Knows no class and no route."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from executor.contract.choices import FILES_KEY, listed, of_marker
from executor.contract.definition import FileChoices
from executor.files import Folders, Watch

_HOLE = re.compile(r'"\\u0000files:(\d+)"')
_MARK = json.dumps(FILES_KEY).encode()


@dataclass(slots=True)
class Text:
    """JSON text with holes for lists of files; `parts` and `holes` take turns."""

    parts: list[bytes]
    holes: list[FileChoices]
    filled: bytes = b""
    watch: Watch | None = None

    def fill(self, folders: Folders) -> bytes:
        """The whole text with the lists as they are now; it is made anew only when a folder has changed."""
        if self.watch is not None and self.watch.is_fresh():
            return self.filled
        self.watch = folders.watch(source for hole in dict.fromkeys(self.holes) for source in hole.sources())
        self.filled = self.shown(folders)
        return self.filled

    def shown(self, folders: Folders) -> bytes:
        """The whole text with the lists as they are now, made anew."""
        unique = dict.fromkeys(self.holes)
        texts = {hole: json.dumps(listed(hole, folders)).encode() for hole in unique}
        pieces = [self.parts[0]]
        for hole, part in zip(self.holes, self.parts[1:], strict=True):
            pieces += (texts[hole], part)
        return b"".join(pieces)


def text_with_holes(value: object) -> Text:
    """JSON data as text, each marker of a list of files a hole."""
    holes: list[FileChoices] = []
    text = json.dumps(_marked(value, holes))
    parts = _HOLE.split(text)
    return Text([part.encode() for part in parts[::2]], [holes[int(index)] for index in parts[1::2]])


def split(whole: bytes) -> dict[str, bytes]:
    """The members of a JSON object as the texts they are; ValueError for broken text."""
    try:
        return {name: bytes(text) for name, text in msgspec.json.decode(whole, type=dict[str, msgspec.Raw]).items()}
    except msgspec.MsgspecError:  # it knows neither NaN nor Infinity
        members: dict[str, object] = json.loads(whole)
        return {name: json.dumps(member).encode() for name, member in members.items()}


def together(members: Mapping[str, bytes]) -> bytes:
    """The JSON object of members: what `split` takes apart."""
    return b"{" + b", ".join(json.dumps(name).encode() + b": " + text for name, text in members.items()) + b"}"


def member(name: str, entry: bytes) -> Text:
    """One class of an object of classes, as text with holes; thousands of them must not hold up other requests."""
    text = text_with_holes(json.loads(entry)) if _MARK in entry else Text([entry], [])
    text.parts[0] = json.dumps(name).encode() + b": " + text.parts[0]
    return text


def joined(members: Iterable[Text]) -> Text:
    """The object of these members."""
    parts: list[bytes] = []
    holes: list[FileChoices] = []
    since_hole = [b"{"]
    for number, text in enumerate(members):
        since_hole += (b", ", text.parts[0]) if number else (text.parts[0],)
        for part in text.parts[1:]:
            parts.append(b"".join(since_hole))
            since_hole = [part]
        holes += text.holes
    return Text([*parts, b"".join((*since_hole, b"}"))], holes)


def _marked(value: object, holes: list[FileChoices]) -> object:
    if isinstance(value, dict):
        files = of_marker(value)
        if files is not None:
            holes.append(files)
            return f"\0files:{len(holes) - 1}"
        return {key: _marked(item, holes) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item, holes) for item in value]
    return value
