"""Numbers of binary websocket frames (reference/http_api.md section 6)."""

from __future__ import annotations

from enum import IntEnum


class BinaryEventTypes(IntEnum):
    """The first four bytes of a binary frame."""

    PREVIEW_IMAGE = 1
    UNENCODED_PREVIEW_IMAGE = 2
    TEXT = 3
    PREVIEW_IMAGE_WITH_METADATA = 4
