"""What can be told of model files without loading them: details, metadata, preview pictures. No torch, no HTTP.

Its file work belongs in a thread.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import struct
from pathlib import Path

from executor.errors import BadInput
from executor.files import Folders
from server.media import Encoded, preview

MOST_HEADER_BYTES = 1 << 20
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")


def metadata_of(path: Path) -> dict[str, object] | None:
    """The `__metadata__` object of a safetensors file; None if there is none or its header exceeds 1 MiB."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            header = json.loads(file.read(length)) if 0 < length <= MOST_HEADER_BYTES else {}
    except (OSError, ValueError):
        return None
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else None


def details(folders: Folders, kind: str) -> list[dict[str, object]]:
    """Every file of a kind with the index of its folder, times in seconds and size in bytes; KeyError if unknown."""
    found = []
    for index, name, path in folders.located(kind):
        try:
            stat = path.stat()
        except OSError:
            continue
        found.append(
            {
                "name": name,
                "pathIndex": index,
                "modified": stat.st_mtime,
                "created": stat.st_ctime,
                "size": stat.st_size,
            }
        )
    return found


def cover(model: Path) -> Encoded | None:
    """The preview picture of a model file as WEBP: one beside it, or the one in its metadata; None without any."""
    stem = model.with_suffix("")
    beside = [stem.with_name(stem.name + middle + ending) for middle in ("", ".preview") for ending in PICTURE_ENDINGS]
    for path in beside:
        if path.is_file():
            with path.open("rb") as file:
                return preview(file)
    metadata = metadata_of(model) if model.suffix == ".safetensors" else None
    try:
        covers = json.loads(str((metadata or {}).get("ssmd_cover_images", "")))
        picture = base64.b64decode(str(covers[0]), validate=True)
        return preview(io.BytesIO(picture))
    except (ValueError, LookupError, TypeError, binascii.Error, BadInput):
        return None
