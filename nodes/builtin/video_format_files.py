"""Formats of VHS_VideoCombine that users wrote for ffmpeg's command line, read as what PyAV's encoders take.

Source of the language: reference/vhs_video_combine.md section 4. Arguments of the encoder are options of the encoder
here too; what only the command line does (filters, several passes, other inputs) is refused by its name when the format
is chosen. Encodes nothing itself.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from executor.errors import NodeInputError
from executor.inference.sound import SoundEncoding
from executor.inference.video_encoding import VideoEncoding
from nodes.builtin.video_formats import Format, Values, Widget

if TYPE_CHECKING:
    from executor.files import Folders

log = logging.getLogger("weft.nodes")

KIND = "VHS_video_formats"
"""The kind of file that extra_model_paths.yaml names, and the folder below models/."""

TYPES = ("BOOLEAN", "FLOAT", "INT", "STRING")
VALUES = ("save_metadata", "input_color_depth", "trim_to_audio", "bitrate", "megabit")
"""Keys whose value is written down, or asked for by a widget."""

SWITCHES = ("save_metadata", "trim_to_audio")

NEVER = ("gifski_pass", "pre_pass", "inputs_main_pass", "environment")
"""Keys that only a command line can follow."""

FLAGS = frozenset({"n", "y", "an", "hide_banner", "nostdin", "shortest"})
"""Arguments without a value, and without an effect here."""

CODECS = {"mp4": "libx264", "mkv": "libx264", "mov": "libx264", "webm": "libvpx-vp9"}
"""What ffmpeg takes for a file ending where nothing is said."""

CONTAINERS = {"mkv": "matroska", "ts": "mpegts", "m4v": "mp4", "ogv": "ogg"}
"""File ending -> container, where they differ."""

BT709 = {"color_range": ("tv", "mpeg", "limited", "1"), **dict.fromkeys(
    ("colorspace", "color_primaries", "color_trc"), ("bt709", "1"))}  # fmt: skip
CONVERTS = re.compile(r"scale=(?:(?:out_color_matrix=bt709|out_range=(?:tv|limited)|flags=\w+):?)+")
"""The one filter that is followed: our conversion to BT.709 does the same."""

LAMBDAS_PER_QUALITY = 118  # FFmpeg's FF_QP2LAMBDA: `-q 3` is a global_quality of 354


def user_formats(folders: Folders) -> dict[str, Format]:
    """The formats of all readable files by name; a file that is none is left out, and told once in the log."""
    found: dict[str, Format] = {}
    for path in _files(folders):
        name = f"video/{path.stem}"
        try:
            found.setdefault(name, _format(name, json.loads(path.read_bytes())))
        except (OSError, ValueError, TypeError, KeyError, IndexError) as failure:
            _warn(path, _changed_ns(path), str(failure))
    return found


@lru_cache(maxsize=256)
def _warn(path: Path, changed_ns: int | None, reason: str) -> None:
    """Tell of a file once for each change of it: the files are read anew by every prompt."""
    log.warning("%s is no video format, so it is not listed: %s", path, reason)


def _changed_ns(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _files(folders: Folders) -> Iterator[Path]:
    paths = [folders.models / KIND, *(folders.paths(KIND) if KIND in folders.kinds() else [])]
    for folder in dict.fromkeys(paths):
        yield from sorted(folder.glob("*.json"))


def _format(name: str, text: object) -> Format:
    if not isinstance(text, Mapping):
        raise TypeError("it holds no JSON object")
    source = _Source(name=name, text=cast("Values", text))
    if not isinstance(text.get("main_pass"), list):
        raise ValueError("it has no list 'main_pass'")
    if not text.get("extension"):
        raise ValueError("it has no 'extension'")
    return Format(
        name=name,
        extension=str(text["extension"]),
        widgets=tuple(source.widgets()),
        fixed={key: not _no(text[key]) for key in SWITCHES if key in text and not isinstance(text[key], list)},
        encoding=source.encoding,
        keeps_metadata="save_metadata" in text,
        sound="libopus",  # where the file says no 'audio_pass'
        alignment=max(1, int(cast("int", text.get("dim_alignment", 2)))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """One file."""

    name: str
    text: Values

    def widgets(self) -> Iterator[Widget]:
        """Each widget once, in the order of the file; those that are values of keys are called as the keys are."""
        seen: set[str] = set()
        written = [self.text.get(key, []) for key in ("extra_widgets", "main_pass", "audio_pass", *VALUES)]
        for widget in _widgets(written):
            if widget[0] not in seen:
                seen.add(str(widget[0]))
                yield widget

    def encoding(self, values: Values, alpha: bool) -> VideoEncoding:
        """What an encoder is told; NodeInputError that names what cannot be followed."""
        for key in NEVER:
            if self.text.get(key):
                raise NodeInputError(f"format {self.name}: {key!r} needs ffmpeg's command line, which is not used here")
        extension = str(self.text["extension"])
        if "%" in extension:
            what = f"format {self.name}: sequences of pictures ({extension}) are not made by format files"
            raise NodeInputError(f"{what}; take video/8bit-png or video/16bit-png")
        known = {**values, "has_alpha": alpha}
        said = _Arguments(f"format {self.name}: ", "v", _resolved(self.text["main_pass"], known))
        codec = said.last("c", "codec", "vcodec") or CODECS.get(extension)
        if codec is None:
            raise NodeInputError(f"format {self.name}: 'main_pass' says no encoder; add \"-c:v\" and its name")
        bt709 = said.bt709()
        return VideoEncoding(
            container=said.last("f") or CONTAINERS.get(extension, extension),
            codec=codec,
            pix_fmt=said.last("pix_fmt") or "yuv420p",
            tag=said.last("tag", "vtag"),
            options=said.options() | self._bitrate(known),
            bits=16 if str(self._value("input_color_depth", known)) == "16bit" else 8,
            bt709=bt709,
            sounds=self._sound(known),
            strict=True,
        )

    def _sound(self, known: Values) -> SoundEncoding | None:
        if self.text.get("audio_pass") is None:
            return None
        said = _Arguments(f"format {self.name}: ", "a", _resolved(self.text["audio_pass"], known))
        codec = said.last("c", "codec", "acodec")
        if codec is None:
            raise NodeInputError(f"format {self.name}: 'audio_pass' says no encoder; add \"-c:a\" and its name")
        return SoundEncoding(codec=codec, options=said.options())

    def _value(self, key: str, known: Values) -> object:
        written = self.text.get(key)
        return known.get(str(written[0])) if isinstance(written, list) else written

    def _bitrate(self, known: Values) -> dict[str, str]:
        amount = self._value("bitrate", known)
        if amount is None:
            return {}
        return {"b": str(int(cast("int", amount)) * (1000 if _no(self._value("megabit", known)) else 1_000_000))}


# ---------------------------------------------------------------- the language of lists


def _is_widget(part: object) -> bool:
    if not (isinstance(part, list) and len(part) > 1 and isinstance(part[0], str)):
        return False
    return isinstance(part[1], list) or part[1] in TYPES


def _widgets(part: object) -> Iterator[Widget]:
    if _is_widget(part):
        name, kind, *more = cast("Widget", part)
        yield [name, kind, *more[:1]]
    elif isinstance(part, Mapping):
        yield from _widgets(list(part.values()))
    elif isinstance(part, list):
        for each in part:
            yield from _widgets(each)


def _resolved(part: object, known: Values) -> list[str]:
    """A pass as arguments: texts as they are, each list as what it stands for."""
    if isinstance(part, str):
        return [part]
    if not isinstance(part, list):
        raise NodeInputError(f"{json.dumps(part)} is no argument")
    if _is_widget(part):
        template = str(part[3]) if len(part) > 3 else "$val"
        return [template.replace("$val", _text(known[str(part[0])]))]
    if len(part) == 2 and isinstance(part[1], Mapping):
        return _chosen(str(part[0]), part[1], known)
    if part and isinstance(part[0], list) and not _is_widget(part[0]) and all(isinstance(x, str) for x in part[0]):
        return [re.sub(r"\$(\w+)", partial(_filled, known), text) for text in part[0]]
    return [argument for each in part for argument in _resolved(each, known)]


def _chosen(name: str, choices: Mapping[str, object], known: Values) -> list[str]:
    value = str(known.get(name))
    by_case = {str(choice).lower(): result for choice, result in choices.items()}  # JSON has true, Python True
    if value.lower() not in by_case:
        return []
    return _resolved(by_case[value.lower()], known)


def _filled(known: Values, found: re.Match[str]) -> str:
    return _text(known[found[1]]) if found[1] in known else found[0]


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _no(value: object) -> bool:
    return str(value).lower() in ("false", "0", "none", "")


# ---------------------------------------------------------------- arguments of ffmpeg


@dataclass(slots=True)
class _Arguments:
    """What a pass says, by name without its leading dash and without the kind of stream."""

    where: str
    stream: str  # v or a
    texts: Sequence[str]
    said: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """NodeInputError for what is no option with a value."""
        self.said = {}
        rest = iter(self.texts)
        for text in rest:
            name, _, stream = text.removeprefix("-").partition(":")
            if not text.startswith("-") or not name:
                raise NodeInputError(f"{self.where}argument {text!r} is no option of an encoder")
            if name in FLAGS:
                continue
            value = next(rest, None)
            if value is None:
                raise NodeInputError(f"{self.where}argument {text!r} has no value")
            if stream not in ("", self.stream, f"{self.stream}:0"):
                raise NodeInputError(f"{self.where}argument {text!r} is of another stream")
            self.said[name] = value

    def last(self, *names: str) -> str | None:
        """Takes out what is said under any of the names."""
        found = [self.said.pop(name) for name in names if name in self.said]
        return found[-1] if found else None

    def bt709(self) -> bool:
        """Takes out what is said of colours: whether they are to be BT.709's; NodeInputError for any others."""
        converts = False
        for name in ("vf", "filter"):
            value = self.last(name)
            if value is not None and not CONVERTS.fullmatch(value):
                raise NodeInputError(f"{self.where}argument '-{name} {value}': filters cannot be run here")
            converts |= value is not None and "bt709" in value
        for name, taken in BT709.items():
            value = self.last(name)
            if value is not None and value not in taken:
                raise NodeInputError(f"{self.where}argument '-{name} {value}': only {taken[0]} is made here")
            converts |= value is not None and name != "color_range"
        return converts

    def options(self) -> dict[str, str]:
        """What is left, as options of the encoder."""
        quality = self.last("q", "qscale")
        left = dict(self.said)
        if quality is not None:
            try:
                left |= {"flags": "+qscale", "global_quality": str(round(float(quality) * LAMBDAS_PER_QUALITY))}
            except ValueError:
                raise NodeInputError(f"{self.where}argument '-q {quality}' is no number") from None
        return left
