"""Which inputs take files that clients upload, and of what kind. Knows no files."""

from __future__ import annotations

import json
from typing import Literal

from executor.contract.definition import InputDef

FileKind = Literal["image", "video", "audio", "file"]

STORED = "weft_inputs"
"""The folder below input/ for files that came within a prompt, each under the digest of its content."""


def upload_kind(item: InputDef) -> FileKind | None:
    """The kind of file that may be uploaded for an input (`image_upload` and its kin); None where none may."""
    options = json.loads(item.options_json) if item.options_json and "upload" in item.options_json else {}
    flags = [name for name, value in options.items() if name.endswith("upload") and value]
    if not flags:
        return None
    kinds: tuple[FileKind, ...] = ("image", "video", "audio")
    return next((kind for kind in kinds if any(kind in flag for flag in flags)), "file")


def is_stored(item: InputDef, value: object) -> bool:
    """Tell whether a value names a file that came within a prompt, at an input that takes such.

    Lists of choices hold the top of the input folder only, so these names are in none.
    """
    return isinstance(value, str) and value.startswith(f"{STORED}/") and upload_kind(item) is not None
