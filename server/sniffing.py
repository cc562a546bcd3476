"""What bytes are, by how they begin. Knows no file names: those of strangers are not believed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from executor.contract.uploads import FileKind

HEAD = 64
"""Bytes that are looked at."""
_SIGNS: tuple[tuple[bytes, FileKind, str], ...] = (
    (rb"\x89PNG\r\n\x1a\n", "image", "png"),
    (rb"\xff\xd8\xff", "image", "jpg"),
    (rb"GIF8[79]a", "image", "gif"),
    (rb"RIFF.{4}WEBP", "image", "webp"),
    (rb"BM.{4}\0\0\0\0", "image", "bmp"),
    (rb"II\*\0|MM\0\*", "image", "tiff"),
    (rb".{4}ftypavi[fs]", "image", "avif"),
    (rb".{4}ftyp(?:M4A|M4B) ", "audio", "m4a"),
    (rb".{4}ftypqt  ", "video", "mov"),
    (rb".{4}ftyp(?:isom|iso[2-9]|mp4[12]|avc1|M4V |MSNV|dash|3gp.)", "video", "mp4"),
    (rb"\x1a\x45\xdf\xa3.*webm", "video", "webm"),
    (rb"\x1a\x45\xdf\xa3.*matroska", "video", "mkv"),
    (rb"RIFF.{4}AVI ", "video", "avi"),
    (rb"RIFF.{4}WAVE", "audio", "wav"),
    (rb"fLaC", "audio", "flac"),
    (rb"OggS.*OpusHead", "audio", "opus"),
    (rb"OggS", "audio", "ogg"),
    (rb"ID3|\xff[\xfb\xf3\xf2\xfa]", "audio", "mp3"),
    (rb"glTF\x02\0\0\0", "file", "glb"),
)
ACCEPTED: dict[FileKind, frozenset[str]] = {
    "image": frozenset({"png", "jpg", "gif", "webp", "bmp", "tiff", "avif"}),
    "video": frozenset({"mp4", "mov", "webm", "mkv", "avi", "gif", "webp"}),
    "audio": frozenset({"wav", "flac", "ogg", "opus", "mp3", "m4a", "mp4", "mov", "webm", "mkv"}),
    "file": frozenset(ending for _, _, ending in _SIGNS),
}
"""What each kind of input may be given, by its ending: sound may lie in a video, a moving picture may be a video."""


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What bytes are: their kind, and the ending that files of theirs have."""

    kind: FileKind
    ending: str


def sniff(body: bytes) -> Sniffed | None:
    """What bytes are; None for what is none of the known formats (text, HTML and SVG among them)."""
    head = body[:HEAD]
    for pattern, kind, ending in _SIGNS:
        if re.match(pattern, head, re.DOTALL):
            return Sniffed(kind, ending)
    return None
