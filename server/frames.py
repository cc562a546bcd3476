"""Websocket frames as bytes and text (reference/http_api.md section 6). Knows no client and no socket."""

from __future__ import annotations

import json
import struct
from functools import lru_cache

from executor.messages import Blob

_TEXT_OPCODE, _BINARY_OPCODE = 0x81, 0x82  # each message is one whole frame (RFC 6455 section 5.2)

PREVIEW = 1
TEXT = 3
PREVIEW_WITH_METADATA = 4
PREVIEWS = frozenset({PREVIEW, PREVIEW_WITH_METADATA})
_IMAGE_TYPES = {"image/jpeg": 1, "image/png": 2}


def on_the_wire(payload: str | bytes) -> bytes:
    """A message as a server sends it: one frame, neither masked nor compressed (RFC 6455 section 5.2)."""
    opcode, body = (_TEXT_OPCODE, payload.encode()) if isinstance(payload, str) else (_BINARY_OPCODE, payload)
    size = len(body)
    if size < 126:
        return bytes((opcode, size)) + body
    if size < 1 << 16:
        return struct.pack(">BBH", opcode, 126, size) + body
    return struct.pack(">BBQ", opcode, 127, size) + body


def text_frame(event: str, data: object) -> str:
    """A text frame: the event's name first, spaced as json.dumps does by default."""
    return json.dumps({"type": event, "data": data})


def text_frame_of_json(event: str, data_json: bytes) -> str:
    """The same for data that is JSON text already; it is passed on untouched."""
    return f"{_head(event)}{data_json.decode()}}}"


@lru_cache(maxsize=256)
def _head(event: str) -> str:
    """How a text frame begins: there are few events, and many of each."""
    return f'{{"type": {json.dumps(event)}, "data": '


def numbered(text: str, number: int) -> str:
    """A text frame with the number of its event, for clients that asked for numbers."""
    return f'{text[:-1]}, "id": {number}}}'


def preview_frame(blob: Blob) -> bytes:
    """Binary event 1: image type and picture."""
    return struct.pack(">II", PREVIEW, _IMAGE_TYPES[blob.image_type]) + blob.body


def preview_with_metadata_frame(blob: Blob) -> bytes:
    """Binary event 4: length of the metadata, the metadata with `image_type` added, and the picture."""
    header = json.loads(blob.header_json)
    header["image_type"] = blob.image_type
    metadata = json.dumps(header).encode()
    return struct.pack(">II", PREVIEW_WITH_METADATA, len(metadata)) + metadata + blob.body


def raw_frame(blob: Blob) -> bytes:
    """A binary event of a pack's own: the type number that it chose, and its bytes."""
    return struct.pack(">I", blob.event) + blob.body


def progress_text_frame(blob: Blob) -> bytes:
    """Binary event 3: length of the node's id, the id, the text."""
    node_id = blob.node_id.encode()
    return struct.pack(">II", TEXT, len(node_id)) + node_id + blob.body
