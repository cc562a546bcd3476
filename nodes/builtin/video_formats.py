"""The formats of VHS_VideoCombine: their widgets, and what these make of an encoder. Encodes nothing itself.

Source: reference/vhs_video_combine.md sections 3 and 4. Sound in WebM is Opus throughout (RFC 7845): FFmpeg's Vorbis
encoder is an experiment, and players of WebM know both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from executor.errors import NodeInputError, UnknownName, nearest
from executor.inference.gifski import find_gifski
from executor.inference.video_encoding import VideoEncoding

log = logging.getLogger("weft.nodes")

PACK = "custom_nodes.ComfyUI-VideoHelperSuite"
CATEGORY = "Video Helper Suite 🎥🅥🅗🅢"
Values = Mapping[str, object]
Widget = list[object]  # [name, TYPE or choices, options]

FFV1_PIXELS = (
    "rgba64le", "bgra", "bgr0", "yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuva420p", "yuva422p", "yuva444p",
    "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv422p12le", "yuv444p12le", "yuv420p16le",
    "yuv422p16le", "yuv444p16le", "yuva444p16le", "gray", "gray10le", "gray12le", "gray16le",
)  # fmt: skip
DITHERS = (
    "bayer", "heckbert", "floyd_steinberg", "sierra2", "sierra2_4a", "sierra3", "burkes", "atkinson", "none",
)  # fmt: skip
NOTHING: Values = {"BOOLEAN": False, "INT": 0, "FLOAT": 0.0, "STRING": ""}
"""What a widget without a default stands at."""

ALIGNMENT = 2
"""Sides of frames of videos are multiples of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One choice of VHS_VideoCombine's `format`."""

    name: str
    extension: str
    widgets: tuple[Widget, ...] = ()
    fixed: Values = field(default_factory=dict)  # values that no widget asks for
    encoding: Callable[[Values, bool], VideoEncoding] | None = None  # of widget values, and whether there is alpha
    keeps_metadata: bool = False
    sound: str | None = None  # its encoder
    bits: int = 8
    alignment: int = ALIGNMENT


def choices_of(formats: Mapping[str, Format]) -> dict[str, list[Widget]]:
    """The option that tells clients which widgets belong to which format."""
    return {name: list(each.widgets) for name, each in formats.items() if each.widgets}


def format_named(name: str, known: Mapping[str, Format]) -> Format:
    """A format by its name; UnknownName with the nearest one."""
    try:
        return known[name]
    except KeyError:
        raise UnknownName("format", name, known) from None


def formats() -> Mapping[str, Format]:
    """Format name -> format: those of the table, and gifski's where the program is installed."""
    return FORMATS if find_gifski() is None else {**FORMATS, GIFSKI.name: GIFSKI}


def widget_values(chosen: Format, given: Values) -> dict[str, object]:
    """A value for each widget of a format: the given one as its type has it, or the declared one.

    NodeInputError for a value that is none of the choices or no number within the limits.
    """
    values: dict[str, object] = dict(chosen.fixed)
    for name, kind, *more in chosen.widgets:
        options = cast(Values, more[0]) if more else {}
        field = str(name)
        if field not in given:
            values[field] = options.get("default", kind[0] if isinstance(kind, list) else NOTHING.get(str(kind)))
            log.debug("%s: input %r is missing; %r is taken", chosen.name, field, values[field])
        else:
            values[field] = _read(field, kind, options, given[field])
    return values


def _read(name: str, kind: object, options: Values, value: object) -> object:
    if isinstance(kind, list):
        if str(value) not in kind:
            near = nearest(str(value), [str(each) for each in kind])
            hint = f"did you mean {near!r}?" if near else f"choose one of {', '.join(map(str, kind))}"
            raise NodeInputError(f"input {name!r}: {value!r} is none of its choices; {hint}")
        return str(value)
    if kind == "BOOLEAN":
        return value.strip().lower() not in ("", "0", "false", "no") if isinstance(value, str) else bool(value)
    return str(value) if kind == "STRING" else _number(name, kind, options, value)


def _number(name: str, kind: object, options: Values, value: object) -> float:
    try:
        number = float(cast(float, value)) if kind == "FLOAT" else int(cast(int, value))
    except (TypeError, ValueError, OverflowError) as error:
        raise NodeInputError(f"input {name!r}: {value!r} is no {'' if kind == 'FLOAT' else 'whole '}number") from error
    low, high = (type(number)(cast(float, options.get(end, number))) for end in ("min", "max"))
    if not low <= number <= high:
        raise NodeInputError(f"input {name!r}: {number} is outside {low} to {high}; the nearest is "
                             f"{min(max(number, low), high)}")  # fmt: skip
    return number


# ---------------------------------------------------------------- widgets


def _pixels(*names: str) -> Widget:
    return ["pix_fmt", list(names), {"default": names[0]}]


def _crf(default: int) -> Widget:
    return ["crf", "INT", {"default": default, "min": 0, "max": 100, "step": 1}]


def _flag(name: str, default: bool) -> Widget:
    return [name, "BOOLEAN", {"default": default}]


SAVES, TRIMS = _flag("save_metadata", True), _flag("trim_to_audio", False)


# ---------------------------------------------------------------- encoders


def _h264(values: Values, alpha: bool) -> VideoEncoding:
    options = {"crf": str(min(51, cast(int, values["crf"])))}  # the encoder's own scale ends there
    return VideoEncoding(container="mp4", codec="libx264", pix_fmt=str(values["pix_fmt"]), options=options)


def _h265(values: Values, alpha: bool) -> VideoEncoding:
    options = {"crf": str(min(51, cast(int, values["crf"]))), "preset": "medium", "x265-params": "log-level=error"}
    return VideoEncoding(
        container="mp4", codec="libx265", pix_fmt=str(values["pix_fmt"]), options=options, tag="hvc1"
    )  # fmt: skip


def _webm(values: Values, alpha: bool) -> VideoEncoding:
    pixels = str(values["pix_fmt"])
    options = {"crf": str(min(63, cast(int, values["crf"]))), "b": "0"}
    if pixels == "yuva420p":
        options["auto-alt-ref"] = "0"  # the encoder refuses alpha beside such frames
    return VideoEncoding(container="webm", codec="libvpx-vp9", pix_fmt=pixels, options=options)


def _av1(values: Values, alpha: bool) -> VideoEncoding:
    return VideoEncoding(
        container="webm",
        codec="libsvtav1",
        pix_fmt=str(values["pix_fmt"]),
        options={"crf": str(min(63, cast(int, values["crf"])))},
        bits=16 if values["input_color_depth"] == "16bit" else 8,
    )


def _prores(values: Values, alpha: bool) -> VideoEncoding:
    profile = str(values["profile"])
    pixels = ("yuva444p10le" if alpha else "yuv444p10le") if profile.startswith("4444") else "yuv422p10le"
    return VideoEncoding(container="mov", codec="prores_ks", pix_fmt=pixels, options={"profile": profile})


def _ffv1(values: Values, alpha: bool) -> VideoEncoding:
    options = {name: str(values[name]) for name in ("level", "coder", "context")} | {"g": str(values["gop_size"])}
    if values["level"] == "3":  # earlier versions know no slices
        options |= {"slices": str(values["slices"]), "slicecrc": str(int(bool(values["slicecrc"])))}
    return VideoEncoding(
        container="matroska", codec="ffv1", pix_fmt=str(values["pix_fmt"]), options=options, bits=16, bt709=False
    )


def _nvenc(codec: str) -> Callable[[Values, bool], VideoEncoding]:
    def encoding(values: Values, alpha: bool) -> VideoEncoding:
        bits_per_s = cast(int, values["bitrate"]) * (1_000_000 if values["megabit"] else 1_000)
        return VideoEncoding(
            container="mp4", codec=codec, pix_fmt=str(values["pix_fmt"]), options={"b": str(bits_per_s)}
        )

    return encoding


def _nvenc_format(name: str, codec: str) -> Format:
    widgets: tuple[Widget, ...] = (
        _pixels("yuv420p", "p010le"),
        ["bitrate", "INT", {"default": 10, "min": 1, "max": 999, "step": 1}],
        _flag("megabit", True),
        SAVES,
    )
    return Format(
        name=f"video/{name}", extension="mp4", widgets=widgets, encoding=_nvenc(codec), keeps_metadata=True, sound="aac"
    )


def _table(*formats: Format) -> dict[str, Format]:
    return {each.name: each for each in formats}


FORMATS: Mapping[str, Format] = _table(
    Format(name="image/gif", extension="gif", alignment=1),
    Format(name="image/webp", extension="webp", widgets=(_flag("lossless", True),), alignment=1),
    Format(name="video/16bit-png", extension="%03d.png", bits=16),
    Format(name="video/8bit-png", extension="%03d.png"),
    Format(
        name="video/ProRes",
        extension="mov",
        widgets=(["profile", ["lt", "standard", "hq", "4444", "4444xq"], {"default": "hq"}],),
        encoding=_prores,
        sound="pcm_s16le",
    ),
    Format(
        name="video/av1-webm",
        extension="webm",
        widgets=(
            _pixels("yuv420p10le", "yuv420p"),
            _crf(23),
            ["input_color_depth", ["8bit", "16bit"], {"default": "8bit"}],
            SAVES,
        ),
        encoding=_av1,
        keeps_metadata=True,
        sound="libopus",
    ),
    Format(
        name="video/ffmpeg-gif",
        extension="gif",
        widgets=(["dither", list(DITHERS), {"default": "sierra2_4a"}],),
    ),
    Format(
        name="video/ffv1-mkv",
        extension="mkv",
        widgets=(
            ["level", ["0", "1", "3"], {"default": "3"}],
            ["coder", ["0", "1", "2"], {"default": "1"}],
            ["context", ["0", "1"], {"default": "1"}],
            ["gop_size", "INT", {"default": 1, "min": 1, "max": 300, "step": 1}],
            ["slices", ["4", "6", "9", "12", "16", "24", "30"], {"default": "16"}],
            _flag("slicecrc", True),
            _pixels(*FFV1_PIXELS),
            SAVES,
            TRIMS,
        ),
        encoding=_ffv1,
        keeps_metadata=True,
        sound="flac",
        bits=16,
    ),
    Format(
        name="video/h264-mp4",
        extension="mp4",
        widgets=(_pixels("yuv420p", "yuv420p10le"), _crf(19), SAVES, TRIMS),
        encoding=_h264,
        keeps_metadata=True,
        sound="aac",
    ),
    Format(
        name="video/h265-mp4",
        extension="mp4",
        widgets=(_pixels("yuv420p10le", "yuv420p"), _crf(22), SAVES),
        encoding=_h265,
        keeps_metadata=True,
        sound="aac",
    ),
    _nvenc_format("nvenc_av1-mp4", "av1_nvenc"),
    _nvenc_format("nvenc_h264-mp4", "h264_nvenc"),
    _nvenc_format("nvenc_hevc-mp4", "hevc_nvenc"),
    Format(
        name="video/webm",
        extension="webm",
        widgets=(_pixels("yuv420p", "yuva420p"), _crf(20), SAVES, TRIMS),
        encoding=_webm,
        keeps_metadata=True,
        sound="libopus",
    ),
)
"""Format name -> format, in the order of the list."""

GIFSKI = Format(
    name="video/gifski",
    extension="gif",
    widgets=(["quality", "INT", {"default": 90, "min": 1, "max": 100, "step": 1}],),
)
