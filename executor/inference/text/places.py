"""Text encoders of whatever kind within checkpoints: where a family has them, and which of them a file holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from torch import nn

from executor.errors import ModelFileError
from executor.inference.memory import Part
from executor.inference.text.clip_file import build_text_model, checked_heads, read_text_shape, text_tensors
from executor.inference.text.clip_model import ClipShape
from executor.inference.text.kinds import (
    CLIP_G,
    CLIP_L_FLUX,
    CLIP_L_SD3,
    QWEN_IMAGE,
    T5_FLUX,
    T5_SD3,
    UMT5_WAN,
    EncoderKind,
    QwenKind,
    T5Kind,
    UMT5Kind,
)
from executor.inference.text.qwen_file import build_qwen
from executor.inference.text.t5_file import build_t5, vocabulary_of
from executor.inference.weights import WeightFile

BuiltText: TypeAlias = tuple[EncoderKind, Part[nn.Module]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPlace:
    """A text encoder of a family, and where it stands in a checkpoint."""

    prefix: str
    kind: EncoderKind


def whole_place(kind: EncoderKind) -> TextPlace:
    """Where newer families' checkpoints hold an encoder."""
    return TextPlace(prefix=f"text_encoders.{kind.label}.transformer.", kind=kind)


FLUX_TEXTS = (whole_place(CLIP_L_FLUX), whole_place(T5_FLUX))
SD3_TEXTS = (whole_place(CLIP_L_SD3), whole_place(CLIP_G), whole_place(T5_SD3))

WAN_TEXTS = (whole_place(UMT5_WAN),)
QWEN_IMAGE_TEXTS = (whole_place(QWEN_IMAGE),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The text encoders that a checkpoint holds, weights mapped."""

    built: tuple[BuiltText, ...]
    missing: tuple[str, ...]  # those of the family that it lacks, in words


def build_texts(file: WeightFile, places: Sequence[TextPlace]) -> Texts:
    """The encoders of a checkpoint that stand in a family's places.

    Raises ModelFileError when one is of another kind, or tensors are missing or do not fit together.
    """
    held = [place for place in places if any(name.startswith(place.prefix) for name in file.tensors)]
    return Texts(
        built=tuple((told(file, place.kind), build_text(file, place.prefix, place.kind)) for place in held),
        missing=tuple(f"text encoder ({place.kind.title})" for place in places if place not in held),
    )


def told(file: WeightFile, kind: EncoderKind) -> EncoderKind:
    """A kind with the vocabulary of the file where it has none of its own; ModelFileError when the file has none."""
    return replace(kind, vocabulary=vocabulary_of(file)) if isinstance(kind, UMT5Kind) else kind


def build_text(file: WeightFile, prefix: str, kind: EncoderKind) -> Part[nn.Module]:
    """The module of the text encoder below a prefix.

    Raises ModelFileError when it is of another kind, or tensors are missing or do not fit together.
    """
    what = f"{kind.title} text encoder"
    if isinstance(kind, QwenKind):
        return build_qwen(file, prefix, what)
    if isinstance(kind, T5Kind):
        return build_t5(file, prefix, what, umt5=isinstance(kind, UMT5Kind))
    return build_text_model(file, prefix, clip_shape(file, prefix, kind), what)


def clip_shape(file: WeightFile, prefix: str, kind: EncoderKind) -> ClipShape:
    """Sizes of a file's CLIP text model; ModelFileError naming the tensor that it lacks."""
    try:
        return checked_heads(file, read_text_shape(text_tensors(file.tensors, prefix), kind))
    except KeyError as error:
        raise ModelFileError(file.path, f"its text encoder lacks {error.args[0]}") from error
