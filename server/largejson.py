"""JSON of any size read and written without keeping anybody else waiting. Knows no requests.

The interpreter's own parser holds its lock from end to end, in a thread just as on the event loop. Larger texts are
therefore read by the same grammar's Python form, which lets others in between, and counts as it goes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json import decoder, scanner
from typing import Any

from executor.errors import BadInput

QUICK_BYTES = 1 << 17
"""What is read at once on the event loop: a few milliseconds."""
QUICK_SIGNS = 50_000
"""Commas and opening brackets in a text that the interpreter's own parser gets: some ten milliseconds."""
MOST_BYTES = 32 << 20
"""The longest JSON body; --max-upload-size may be less. Files are uploaded, they do not come within JSON."""
MOST_VALUES = 250_000
"""Values in a body, members of objects and lists all counted: some times the largest workflows that people share."""

Scan = Callable[[str, int], tuple[Any, int]]


class Bulky(dict[str, object]):
    """An object so large that further work on it belongs in a thread."""


def read(body: bytes) -> object:
    """The value of a JSON text, an object as a Bulky; ValueError or RecursionError if it is none.

    BadInput when it holds too many values. Belongs in a thread.
    """
    text = body.decode(json.detect_encoding(body), "surrogatepass")
    signs = sum(text.count(sign) for sign in ",[{")
    value = json.loads(text) if signs <= QUICK_SIGNS else _Counting().decode(text)
    return Bulky(value) if isinstance(value, dict) else value


class _Counting(json.JSONDecoder):
    """A decoder in Python that gives up beyond MOST_VALUES."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        read_array, read_object = decoder.JSONArray, decoder.JSONObject  # type: ignore[attr-defined]
        self.parse_array = lambda start, scan: read_array(start, self._counted(scan))
        self.parse_object = lambda start, strict, scan, *rest: read_object(start, strict, self._counted(scan), *rest)
        self.scan_once = scanner.py_make_scanner(self)  # type: ignore[attr-defined]

    def _counted(self, scan: Scan) -> Scan:
        def scan_and_count(text: str, at: int) -> tuple[Any, int]:
            self._count += 1
            if self._count > MOST_VALUES:
                raise BadInput(f"the body holds more than {MOST_VALUES} values")
            return scan(text, at)

        return scan_and_count


def dumped(value: object) -> bytes:
    """A value as JSON text. Belongs in a thread where it may be large."""
    return json.dumps(value).encode()
