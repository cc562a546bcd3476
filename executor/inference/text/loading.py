"""Opens text encoder files as what nodes pass on. Knows no diffusion model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from executor.errors import ModelFileError
from executor.inference.detect import describe
from executor.inference.devices import CPU
from executor.inference.memory import Memory
from executor.inference.text.clip import Clip
from executor.inference.text.clip_file import FIRST_LAYER
from executor.inference.text.encoders import encoder_of
from executor.inference.text.joining import CHROMA, FLUX, SD3, WAN, Joining
from executor.inference.text.joining import QWEN_IMAGE as QWEN_JOINING
from executor.inference.text.kinds import (
    CLIP_G,
    CLIP_H,
    CLIP_L,
    CLIP_L_FLUX,
    CLIP_L_RAW,
    CLIP_L_SD3,
    QWEN_IMAGE,
    T5_CHROMA,
    T5_FLUX,
    T5_SD3,
    UMT5_WAN,
    EncoderKind,
)
from executor.inference.text.open_clip import MARK
from executor.inference.text.places import build_text, clip_shape, told
from executor.inference.text.qwen_file import qwen_prefix
from executor.inference.text.t5_file import is_umt5, refuse_others, t5_prefix
from executor.inference.weights import WeightFile, read_weights

SINGLE = "stable_diffusion"
SINGLE_FITS = "the CLIP-L text encoder of Stable Diffusion 1.x fits here, CLIP-H of 2.x, and CLIP-G of the SDXL refiner"
BY_WIDTH = {768: "l", 1024: "h", 1280: "g"}
"""Which CLIP is meant, by the width of the published ones."""
BY_NAME = {"l": CLIP_L, "g": CLIP_G, "h": CLIP_H}
SHORTENED_H = 23
"""Layers of CLIP-H in diffusers' folders, which leave out the last one."""
T5 = "t5xxl"
OTHERS = (T5, UMT5_WAN.name, QWEN_IMAGE.name)
"""Encoders that are no CLIP."""
G_WIDTH = 1280


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The text encoders of a kind of diffusion model."""

    kinds: tuple[EncoderKind, ...]  # in the order in which they stand in a CLIP
    fewest: int  # files
    fits: str  # in words
    joining: Joining | None = None  # None: side by side


WANTED: Mapping[str, Wanted] = MappingProxyType(
    {
        "sdxl": Wanted(
            kinds=(CLIP_L_RAW, CLIP_G), fewest=2, fits="SDXL takes two files: its CLIP-L and its CLIP-G text encoder"
        ),
        "sd3": Wanted(
            kinds=(CLIP_L_SD3, CLIP_G, T5_SD3),
            fewest=1,
            fits="Stable Diffusion 3 takes up to three files: its CLIP-L, its CLIP-G and its T5-XXL text encoder",
            joining=SD3,
        ),
        "flux": Wanted(
            kinds=(CLIP_L_FLUX, T5_FLUX),
            fewest=2,
            fits="Flux takes two files: its CLIP-L and its T5-XXL text encoder",
            joining=FLUX,
        ),
        "chroma": Wanted(
            kinds=(T5_CHROMA,), fewest=1, fits="Chroma takes one file: its T5-XXL text encoder", joining=CHROMA
        ),
        "qwen_image": Wanted(
            kinds=(QWEN_IMAGE,),
            fewest=1,
            fits="Qwen-Image takes one file: its Qwen2.5-VL text encoder",
            joining=QWEN_JOINING,
        ),
        "wan": Wanted(kinds=(UMT5_WAN,), fewest=1, fits="Wan takes one file: its UMT5-XXL text encoder", joining=WAN),
    }
)
KINDS = (SINGLE, *WANTED)
Chosen: TypeAlias = tuple[WeightFile, str, EncoderKind]
"""A file, the prefix of the text model in it, and how that one is used."""
TITLES = {each.name: each.title for each in (CLIP_L, CLIP_G, CLIP_H, T5_SD3, UMT5_WAN, QWEN_IMAGE)}


def load_text_encoder(
    paths: Sequence[Path],
    kind: str,
    memory: Memory,
    *,
    embedding_folders: Sequence[Path] = (),
    on_cpu: bool = False,
) -> Clip:
    """The text encoders of one or several files, in any order, for a kind of diffusion model.

    Raises ModelFileError when a file is broken or holds another encoder, or the kind has no encoder here yet.
    """
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise ModelFileError(paths[0], f"text encoders for {kind} are not supported yet", f"known types: {known}")
    files = [read_weights(path) for path in paths]
    if kind == SINGLE:
        if len(files) != 1:
            raise ModelFileError(paths[0], f"is one of {len(paths)} files for {kind}", SINGLE_FITS)
        prefix = clip_prefix(files[0], SINGLE_FITS)
        chosen, joining = [(files[0], prefix, single_kind(files[0], prefix))], None
    else:
        wanted = WANTED[kind]
        chosen, joining = matched([found_in(file, wanted) for file in files], kind, wanted), wanted.joining
    encoders = [
        encoder_of(told(file, each), build_text(file, prefix, each), embedding_folders) for file, prefix, each in chosen
    ]
    return Clip(encoders=encoders, memory=Memory(CPU, "cpu") if on_cpu else memory, joining=joining)


# ---------------------------------------------------------------- what a file holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A text model in a file."""

    file: WeightFile
    prefix: str
    name: str  # of its tokens; "" for a CLIP of no published width
    width: int = 0  # of a CLIP
    has_projection: bool = False


def found_in(file: WeightFile, wanted: Wanted) -> Found:
    """The text model in a file; ModelFileError when there is none, or a T5 of another kind."""
    prefix = qwen_prefix(file.tensors)
    if prefix is not None:
        return Found(file=file, prefix=prefix, name=QWEN_IMAGE.name)
    prefix = t5_prefix(file.tensors)
    if prefix is not None:
        inside = {name[len(prefix) :]: tensor for name, tensor in file.tensors.items() if name.startswith(prefix)}
        wants_umt5 = UMT5_WAN in wanted.kinds
        if wants_umt5 and is_umt5(inside):
            return Found(file=file, prefix=prefix, name=UMT5_WAN.name)
        if not wants_umt5:
            refuse_others(file, inside)
        return Found(file=file, prefix=prefix, name=T5)
    prefix = clip_prefix(file, wanted.fits)
    shape = clip_shape(file, prefix, CLIP_G)
    return Found(
        file=file,
        prefix=prefix,
        name=BY_WIDTH.get(shape.width, ""),
        width=shape.width,
        has_projection=shape.projection is not None,
    )


def matched(found: Sequence[Found], kind: str, wanted: Wanted) -> list[Chosen]:
    """Each of the kind's encoders with the file that holds it, in the order of a CLIP.

    Raises ModelFileError when there are too few or too many files, or one holds an encoder that is not wanted.
    """
    if not wanted.fewest <= len(found) <= len(wanted.kinds):
        raise ModelFileError(found[0].file.path, f"is one of {len(found)} files for {kind}", wanted.fits)
    by_name: dict[str, Found] = {}
    for name, each in zip(names_of(found, wanted), found, strict=True):
        if name not in [known.name for known in wanted.kinds]:
            use = ", the text encoder of Stable Diffusion 2.x" if name == CLIP_H.name else ""
            raise ModelFileError(each.file.path, f"is {TITLES[name]}{use}", wanted.fits)
        if name in by_name:
            other = by_name[name].file.path.name
            raise ModelFileError(each.file.path, f"is {TITLES[name]}, and so is {other}", wanted.fits)
        if name == CLIP_G.name and not each.has_projection:
            raise ModelFileError(each.file.path, "has no text projection, which CLIP-G needs", wanted.fits)
        by_name[name] = each
    return [(by_name[each.name].file, by_name[each.name].prefix, each) for each in wanted.kinds if each.name in by_name]


def names_of(found: Sequence[Found], wanted: Wanted) -> list[str]:
    """Which encoder each file holds: of two CLIPs of any widths the wider one is CLIP-G."""
    widths = {each.width for each in found if each.name not in OTHERS}
    has_g = any(each.name == CLIP_G.name for each in wanted.kinds)
    names = []
    for each in found:
        if each.name in (*OTHERS, CLIP_H.name):
            names.append(each.name)
        elif len(widths) > 1 and has_g:
            names.append(CLIP_G.name if each.width == max(widths) else CLIP_L.name)
        else:
            names.append(each.name or (CLIP_G.name if has_g and each.width >= G_WIDTH else CLIP_L.name))
    return names


def clip_prefix(file: WeightFile, fits: str) -> str:
    """The prefix of the CLIP text model in a file; ModelFileError when there is none."""
    endings = [(name, mark) for mark in (MARK, FIRST_LAYER) for name in file.tensors if name.endswith(mark)]
    for name, mark in endings:
        if not name.endswith(("vision_model." + FIRST_LAYER, "visual." + MARK)):
            return name.removesuffix(mark).removesuffix("text_model.")
    if endings:
        raise ModelFileError(file.path, "is a CLIP vision model", f"it belongs into models/clip_vision; {fits}")
    raise ModelFileError(file.path, f"looks like {describe(file.tensors)[0]}", fits)


def single_kind(file: WeightFile, prefix: str) -> EncoderKind:
    """Which encoder a file holds, for a model that has one; OpenCLIP's names of an unknown width mean CLIP-H."""
    shape = clip_shape(file, prefix, CLIP_L)
    usual = "h" if prefix + MARK in file.tensors else "l"
    kind = BY_NAME[BY_WIDTH.get(shape.width, usual)]
    return replace(kind, layer=None) if kind is CLIP_H and shape.layers == SHORTENED_H else kind
