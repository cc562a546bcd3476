"""Opens text encoder files as what nodes pass on. Knows no diffusion model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from executor.errors import ModelFileError
from executor.inference.detect import describe
from executor.inference.devices import CPU
from executor.inference.memory import Memory, Part
from executor.inference.text.clip import Clip
from executor.inference.text.clip_file import (
    FIRST_LAYER,
    build_text_model,
    checked_heads,
    read_text_shape,
    text_tensors,
)
from executor.inference.text.clip_model import ClipShape, ClipTextModel
from executor.inference.text.encoder import CLIP_G, CLIP_H, CLIP_L, CLIP_L_RAW, Encoder, EncoderKind
from executor.inference.text.open_clip import MARK
from executor.inference.weights import WeightFile, read_weights

SINGLE, PAIR = "stable_diffusion", "sdxl"
KINDS = (SINGLE, PAIR)
FITS = "the CLIP-L text encoder of Stable Diffusion 1.x fits here, CLIP-H of 2.x, and CLIP-G of the SDXL refiner"
PAIR_FITS = "SDXL takes two files: its CLIP-L and its CLIP-G text encoder"
BY_WIDTH = {768: CLIP_L, 1024: CLIP_H, 1280: CLIP_G}
"""Which encoder is meant, by the width of the published ones; of others, OpenCLIP's names mean CLIP-H."""
SHORTENED_H = 23
"""Layers of CLIP-H in diffusers' folders, which leave out the last one."""


def load_text_encoder(
    paths: Sequence[Path],
    kind: str,
    memory: Memory,
    *,
    embedding_folders: Sequence[Path] = (),
    on_cpu: bool = False,
) -> Clip:
    """The text encoder of one or several files for a kind of diffusion model.

    Raises ModelFileError when a file is broken or holds another encoder, or the kind has no encoder here yet.
    """
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise ModelFileError(paths[0], f"text encoders for {kind} are not supported yet", f"known types: {known}")
    if len(paths) != (2 if kind == PAIR else 1):
        raise ModelFileError(paths[0], f"is one of {len(paths)} files for {kind}", PAIR_FITS if kind == PAIR else FITS)
    found = [read_text_file(read_weights(path)) for path in paths]
    kinds = pair_kinds(found) if kind == PAIR else [single_kind(*found[0])]
    encoders = [
        Encoder(kind=kind, part=built(file, prefix, kind), embedding_folders=embedding_folders)
        for kind, (file, prefix) in zip(kinds, found, strict=True)
    ]
    encoders.sort(key=lambda each: each.name, reverse=True)  # CLIP-L stands before CLIP-G
    return Clip(encoders=encoders, memory=Memory(CPU, "cpu") if on_cpu else memory)


def read_text_file(file: WeightFile) -> tuple[WeightFile, str]:
    """A file and the prefix of the text model in it; ModelFileError when there is none."""
    for mark in (MARK, FIRST_LAYER):
        ending = next((name for name in file.tensors if name.endswith(mark)), None)
        if ending is not None and not ending.endswith(("vision_model." + FIRST_LAYER, "visual." + MARK)):
            return file, ending.removesuffix(mark).removesuffix("text_model.")
        if ending is not None:
            raise ModelFileError(file.path, "is a CLIP vision model", f"it belongs into models/clip_vision; {FITS}")
    raise ModelFileError(file.path, f"looks like {describe(file.tensors)[0]}", FITS)


def shape_of(file: WeightFile, prefix: str, kind: EncoderKind) -> ClipShape:
    """Sizes of a file's text model; ModelFileError naming the tensor that it lacks."""
    try:
        return checked_heads(file, read_text_shape(text_tensors(file.tensors, prefix), kind))
    except KeyError as error:
        raise ModelFileError(file.path, f"its text encoder lacks {error.args[0]}") from error


def built(file: WeightFile, prefix: str, kind: EncoderKind) -> Part[ClipTextModel]:
    """The module of a file's text model."""
    return build_text_model(file, prefix, shape_of(file, prefix, kind))


def single_kind(file: WeightFile, prefix: str) -> EncoderKind:
    """Which encoder a file holds, for a model that has one."""
    shape = shape_of(file, prefix, CLIP_L)
    usual = CLIP_H if prefix + MARK in file.tensors else CLIP_L
    kind = BY_WIDTH.get(shape.width, usual)
    return replace(kind, layer=None) if kind is CLIP_H and shape.layers == SHORTENED_H else kind


def pair_kinds(found: Sequence[tuple[WeightFile, str]]) -> list[EncoderKind]:
    """SDXL's two encoders in the order of their files: CLIP-G is the wider one.

    Raises ModelFileError when both are the same, or one is CLIP-H.
    """
    shapes = [shape_of(file, prefix, CLIP_G) for file, prefix in found]
    for (file, _), shape in zip(found, shapes, strict=True):
        if BY_WIDTH.get(shape.width) is CLIP_H:
            raise ModelFileError(file.path, "is CLIP-H, the text encoder of Stable Diffusion 2.x", PAIR_FITS)
    widths = [shape.width for shape in shapes]
    if widths[0] == widths[1]:
        reason = f"and {found[0][0].path.name} hold text encoders of the same width {widths[0]}"
        raise ModelFileError(found[1][0].path, reason, PAIR_FITS)
    kinds = [CLIP_G if width == max(widths) else CLIP_L_RAW for width in widths]
    wide = shapes[widths.index(max(widths))]
    if wide.projection is None:
        file = found[widths.index(max(widths))][0]
        raise ModelFileError(file.path, "has no text projection, which SDXL's CLIP-G needs", PAIR_FITS)
    return kinds
