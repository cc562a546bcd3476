"""PyAV, imported when sound or video is first touched, and what fails in it put into words. Knows no format.

PyAV brings FFmpeg's libraries along; a machine where it does not load still runs every node that needs neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from executor.errors import NodeInputError

if TYPE_CHECKING:
    from av.container import InputContainer

Source = str | BytesIO
LARGEST_TERM = 2**30
"""FFmpeg keeps both terms of a fraction in 32 bits."""


def pyav() -> ModuleType:
    """PyAV; RuntimeError that says how to get it where it is not installed, or why it does not load."""
    try:
        return import_module("av")
    except ModuleNotFoundError as failure:
        if failure.name != "av":
            raise RuntimeError(f"video and sound files need PyAV, which does not load here: {failure}") from failure
        raise RuntimeError("video and sound files need PyAV, which is not installed: pip install av") from failure
    except (ImportError, OSError) as failure:
        raise RuntimeError(f"video and sound files need PyAV, which does not load here: {failure}") from failure


@contextmanager
def reading(source: Source, name: str = "") -> Iterator[InputContainer]:
    """A file or stream open for reading; what goes wrong in the block names it.

    FileNotFoundError when it is not there, NodeInputError when it is damaged or holds neither sound nor video.
    """
    shown = name or (Path(source).name if isinstance(source, str) else "the stream")
    av = pyav()
    if isinstance(source, BytesIO):
        source.seek(0)
    try:
        with av.open(source) as container:
            yield container
    except FileNotFoundError:
        raise
    except av.error.FFmpegError as failure:
        raise NodeInputError(f"{shown} cannot be read as video or sound: {failure.strerror or failure}") from failure


@contextmanager
def encoding(what: str) -> Iterator[None]:
    """Tell which encoder failed, and what it said, as NodeInputError."""
    try:
        yield
    except pyav().error.FFmpegError as failure:
        said = str(failure.log[2]).strip() if failure.log else ""
        raise NodeInputError(f"{what} failed: {said or failure.strerror or failure}") from failure


def refuse_unknown(codec: str, given: Mapping[str, str], left: Mapping[str, str]) -> None:
    """NodeInputError for the first given option that an encoder left over when it was opened: it has none so called."""
    for name in given:
        if name in left:
            raise NodeInputError(f"the encoder {codec} has no option {name!r}")


def rate_of(frames_per_second: float | Fraction, field: str = "frame_rate") -> Fraction:
    """Pictures per second as FFmpeg takes them; NodeInputError for what is no rate."""
    value = float(frames_per_second)
    if not 0 < value < LARGEST_TERM:
        raise NodeInputError(f"input {field!r}: {frames_per_second} is no frame rate; take one above 0, for example 8")
    # A float is taken as it is written: 29.97 is 2997/100.
    exact = frames_per_second if isinstance(frames_per_second, Fraction) else Fraction(repr(value))
    return exact.limit_denominator(max(1, min(1_000_000, int(LARGEST_TERM / value))))


def texts(metadata: Mapping[str, object] | None) -> dict[str, str]:
    """Metadata as a file keeps it: texts as they are, everything else as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in (metadata or {}).items()}


def parsed(text: str) -> object:
    """A metadata text as the value it is the JSON of, or else the text itself."""
    try:
        return cast(object, json.loads(text))
    except ValueError:
        return text


def origin_s(container: InputContainer) -> float:
    """When a file's first picture or sound is: clips cut without encoding, and recordings, may begin late.

    Times that users give count from there, as FFmpeg's do.
    """
    return max(0, container.start_time or 0) / 1_000_000


def container_options(container: str) -> dict[str, str]:
    """Options of a file format: MP4 and MOV files keep metadata of any name."""
    return {"movflags": "use_metadata_tags"} if container in ("mp4", "mov") else {}
