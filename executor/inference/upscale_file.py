"""Files of networks that enlarge pictures: which network, of which sizes, under which names. Knows no pictures.

The ESRGAN family is ours, under its first names (`model.1.sub.`), its second (`RRDB_trunk.`) and Real-ESRGAN's
(`body.`); every other network is left to the package spandrel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Protocol, cast

from torch import Tensor, nn

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.detect import describe
from executor.inference.memory import Part
from executor.inference.upscale_model import RGB, CompactNet, CompactShape, DenseShape, RRDBNet
from executor.inference.weights import WeightFile

# what files wrap their tensors in; the averaged weights of a training come first
WRAPPERS = ("params_ema.", "params-ema.", "params.", "state_dict.", "module.", "model.", "")
FIRST_OF_DENSE, FIRST_OF_OLD, FIRST_OF_COMPACT = "conv_first.weight", "model.0.weight", "body.0.weight"
OLD_DENSE = re.compile(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.(weight|bias)")
OLD_TRUNK = re.compile(r"model\.1\.sub\.\d+\.(weight|bias)")
OLD_PLAIN = re.compile(r"model\.(\d+)\.(weight|bias)")
DENSE = re.compile(r"(?:body|RRDB_trunk)\.(\d+)\.(?:rdb|RDB)(\d)\.conv(\d)\.(weight|bias)")
DOUBLING = re.compile(r"(?:conv_up|upconv)(\d)\.(weight|bias)")
SAME = {"trunk_conv": "conv_body", "HRconv": "conv_hr"}
PLAIN = re.compile(r"(conv_first|conv_body|trunk_conv|conv_hr|HRconv|conv_last)\.(weight|bias)")
COMPACT = re.compile(r"body\.\d+\.(weight|bias)")
HERE = "models/upscale_models"
FITS = "ESRGAN, Real-ESRGAN and its compact form fit here, and with the extra 'upscale' what spandrel reads"


class Descriptor(Protocol):
    """A network as spandrel hands it out: callable on pictures [B, C, H, W] in 0..1."""

    model: nn.Module
    scale: int
    input_channels: int
    output_channels: int

    def __call__(self, image: Tensor) -> Tensor:
        """The larger pictures."""
        ...

    def to(self, device: object) -> Descriptor:
        """Itself, on another device."""
        ...


def read_upscaler(file: WeightFile) -> Part[RRDBNet] | Part[CompactNet] | Descriptor:
    """The network of a file.

    Raises ModelFileError when the file holds none, one without colours, or one that only spandrel reads and spandrel
    is not there or does not know it.
    """
    for wrapper in WRAPPERS:
        inside = {name[len(wrapper) :]: name for name in file.tensors if name.startswith(wrapper)}
        for first, names_of in ((FIRST_OF_DENSE, dense_names), (FIRST_OF_OLD, old_names)):
            if first in inside and (names := names_of(list(inside))) is not None:
                return dense_part(file, {inside[name]: key for name, key in names.items()})
        if FIRST_OF_COMPACT in inside and all(map(COMPACT.fullmatch, inside)):
            return compact_part(file, {name: key for key, name in inside.items()})
    return foreign(file)


def dense_names(names: list[str]) -> dict[str, str] | None:
    """The module's names of an RRDBNet's tensors; None when it has others too."""
    found: dict[str, str] = {}
    for name in names:
        if match := DENSE.fullmatch(name):
            block, dense, conv, kind = match.groups()
            found[name] = f"body.{block}.rdb{dense}.conv{conv}.{kind}"
        elif match := DOUBLING.fullmatch(name):
            found[name] = f"conv_up.{int(match[1]) - 1}.{match[2]}"
        elif match := PLAIN.fullmatch(name):
            found[name] = f"{SAME.get(match[1], match[1])}.{match[2]}"
        else:
            return None
    return found


def old_names(names: list[str]) -> dict[str, str] | None:
    """The module's names of the tensors of the first files, which number their layers; None when there are others."""
    places = sorted({int(match[1]) for name in names if (match := OLD_PLAIN.fullmatch(name))})
    after = places[1:]
    ends = {place: f"conv_up.{number}" for number, place in enumerate(after[:-2])}
    ends |= dict(zip(after[-2:], ("conv_hr", "conv_last"), strict=False)) | {0: "conv_first"}
    found: dict[str, str] = {}
    for name in names:
        if match := OLD_DENSE.fullmatch(name):
            block, dense, conv, kind = match.groups()
            found[name] = f"body.{block}.rdb{dense}.conv{conv}.{kind}"
        elif match := OLD_TRUNK.fullmatch(name):
            found[name] = f"conv_body.{match[1]}"
        elif match := OLD_PLAIN.fullmatch(name):
            found[name] = f"{ends[int(match[1])]}.{match[2]}"
        else:
            return None
    return found


def dense_part(file: WeightFile, keys: Mapping[str, str]) -> Part[RRDBNet]:
    """An RRDBNet by the module's names of its tensors (file's → module's)."""
    tensors = {key: file.tensors[name] for name, key in keys.items()}
    try:
        first, last = tensors["conv_first.weight"], tensors["conv_last.weight"]
        shape = DenseShape(
            width=first.shape[0],
            growth=tensors["body.0.rdb1.conv1.weight"].shape[0],
            blocks=len({key.split(".")[1] for key in keys.values() if key.startswith("body.")}),
            doublings=len({key.split(".")[1] for key in keys.values() if key.startswith("conv_up.")}),
            fold=math.isqrt(first.shape[1] // max(1, last.shape[0])),
        )
    except KeyError as error:
        raise ModelFileError(file.path, f"its ESRGAN lacks {error.args[0]}", FITS) from error
    check_colours(file, first.shape[1] // shape.fold**2 if shape.fold else 0, last.shape[0])
    if not shape.scale:
        raise ModelFileError(file.path, "is an ESRGAN that makes pictures smaller", FITS)
    return build_part(file, "upscaling model", "vae", lambda: RRDBNet(shape), keys)


def compact_part(file: WeightFile, keys: Mapping[str, str]) -> Part[CompactNet]:
    """An SRVGGNetCompact by the names of its tensors (file's → module's)."""
    tensors = {key: file.tensors[name] for name, key in keys.items()}
    convolutions = sorted(int(key.split(".")[1]) for key, tensor in tensors.items() if tensor.ndim == 4)
    first, last = tensors[FIRST_OF_COMPACT], tensors[f"body.{convolutions[-1]}.weight"]
    scale = math.isqrt(last.shape[0] // RGB)
    check_colours(file, first.shape[1], last.shape[0] // scale**2 if scale else 0)
    shape = CompactShape(width=first.shape[0], layers=len(convolutions) - 2, scale=scale)
    return build_part(file, "upscaling model", "vae", lambda: CompactNet(shape), keys)


def check_colours(file: WeightFile, into: int, out: int) -> None:
    """ModelFileError for a network that does not take and give the three colours of a picture."""
    if (into, out) != (RGB, RGB):
        raise ModelFileError(file.path, f"takes {into} and gives {out} channels; a picture here has {RGB}", FITS)


# ---------------------------------------------------------------- networks of others


def foreign(file: WeightFile) -> Descriptor:
    """The network that spandrel finds in a file; ModelFileError where it finds none, or is not there."""
    what, advice = describe(file.tensors)
    advice = "" if HERE in advice else advice
    try:
        spandrel = import_module("spandrel")
    except Exception as error:  # a torchvision of another build fails in ways of its own
        reason = f"is no ESRGAN (it looks like {what}); other networks are read by the package spandrel, which cannot "
        reason += f"be imported ({type(error).__name__}: {error})"
        install = "pip install 'weft[upscale]', with the torchvision that belongs to the installed torch"
        raise ModelFileError(file.path, reason, advice or install) from error
    try:
        found = loaded(spandrel, file)
    except Exception as error:  # spandrel's own errors, and what its networks raise on sizes they do not expect
        raise ModelFileError(file.path, f"looks like {what}, and spandrel does not know it", advice or FITS) from error
    if not isinstance(found, spandrel.ImageModelDescriptor):
        raise ModelFileError(file.path, "is a network that does more than enlarge one picture", FITS)
    check_colours(file, found.input_channels, found.output_channels)
    return cast(Descriptor, found)


def loaded(spandrel: ModuleType, file: WeightFile) -> object:
    """What spandrel makes of a file's tensors; they were read without running code."""
    for wrapper in ("params_ema.", "params-ema.", "params.", "state_dict."):
        inside = {name[len(wrapper) :]: tensor for name, tensor in file.tensors.items() if name.startswith(wrapper)}
        if inside:
            return spandrel.ModelLoader().load_from_state_dict(inside).eval()
    return spandrel.ModelLoader().load_from_state_dict(dict(file.tensors)).eval()
