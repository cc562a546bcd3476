"""Files of T2I-Adapters: of which kind they are, and their weights in networks.

Original names and diffusers' are read. Knows no pictures and no strengths.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.families.ldm_unet import count_under
from executor.inference.memory import Part
from executor.inference.t2i_adapter import (
    SD1_PLACEMENT,
    SDXL_PLACEMENT,
    AdapterShape,
    FullAdapter,
    LightAdapter,
    Placement,
    T2IAdapter,
)
from executor.inference.weights import WeightFile

LAYERS_PER_LEVEL = 2  # of full adapters
COLOURS = (1, 3)  # of the pictures that adapters are trained on
PREFIXES = ("adapter.", "t2i_adapter.", "")
FIRST = ("body.0.resnets.0.block1.weight", "body.0.block1.weight", "body.0.body.0.block1.weight")


def adapter_prefix(names: Mapping[str, Tensor]) -> str | None:
    """What the names of an adapter's tensors begin with; None in a file of something else."""
    return next((prefix for prefix in PREFIXES if any(f"{prefix}{first}" in names for first in FIRST)), None)


def read_adapter(file: WeightFile, prefix: str) -> Part[T2IAdapter]:
    """The adapter whose tensors' names begin so; ModelFileError when some are missing or it fits no family of ours."""
    bare = {name: name[len(prefix) :] for name in file.tensors if name.startswith(prefix)}
    light = "body.0.out_conv.weight" in bare.values()
    theirs = FIRST[0] in bare.values()
    renamed = {name: (light_name if light else full_name)(key) if theirs else key for name, key in bare.items()}
    tensors = {key: file.tensors[name] for name, key in renamed.items()}
    try:
        shape = read_light(file, tensors) if light else read_full(file, tensors)
    except KeyError as error:
        raise ModelFileError(file.path, f"its T2I-Adapter lacks {error.args[0]}") from error
    build = LightAdapter if light else FullAdapter
    return build_part(file, "T2I-Adapter", "diffusion", lambda: build(shape), renamed)


def read_full(file: WeightFile, tensors: Mapping[str, Tensor]) -> AdapterShape:
    """Sizes of a full adapter; KeyError for a missing tensor, ModelFileError for another family."""
    count, channels = count_under(tensors, "body."), tensors["conv_in.weight"].shape[1]
    return AdapterShape(
        channels=channels,
        widths=tuple(tensors[f"body.{n}.block1.weight"].shape[0] for n in range(0, count, LAYERS_PER_LEVEL)),
        layers=LAYERS_PER_LEVEL,
        kernel=tensors["body.0.block2.weight"].shape[-1],
        shortened=tuple(f"body.{n}.in_conv.weight" in tensors for n in range(count)),
        skips=tuple(f"body.{n}.skep.weight" in tensors for n in range(count)),
        placement=placement_for(file, channels),
    )


def read_light(file: WeightFile, tensors: Mapping[str, Tensor]) -> AdapterShape:
    """Sizes of a light adapter; errors as of `read_full`."""
    channels = tensors["body.0.in_conv.weight"].shape[1]
    return AdapterShape(
        channels=channels,
        widths=tuple(tensors[f"body.{n}.out_conv.weight"].shape[0] for n in range(count_under(tensors, "body."))),
        layers=count_under(tensors, "body.0.body."),
        placement=placement_for(file, channels),
    )


def placement_for(file: WeightFile, channels: int) -> Placement:
    """How an adapter of so many channels fits its UNet; ModelFileError when that is not known."""
    for placement in (SD1_PLACEMENT, SDXL_PLACEMENT):
        if channels in [colours * placement.side**2 for colours in COLOURS]:
            return placement
    reason = "is a T2I-Adapter for another family than SD1.x, SD2.x and SDXL"
    raise ModelFileError(file.path, reason, "an adapter for one of these fits here")


def full_name(name: str) -> str:
    """The original name of a tensor that diffusers names: it counts residual blocks level by level."""
    parts = name.split(".")
    if parts[0] != "body":
        return name
    first = int(parts[1]) * LAYERS_PER_LEVEL
    if parts[2] == "resnets":
        return ".".join(["body", str(first + int(parts[3])), *parts[4:]])
    return ".".join(["body", str(first), *parts[2:]])


def light_name(name: str) -> str:
    """The original name of a light adapter's tensor that diffusers names."""
    return name.replace(".resnets.", ".body.")
