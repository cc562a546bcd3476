"""Files of Wan's video autoencoders in the original names. Knows tensors' names and shapes only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.memory import Part
from executor.inference.wan_vae import COLOURS, LayerShape, Level, WanVae, WanVaeShape
from executor.inference.weights import WeightFile

MARK = "decoder.middle.0.residual.0.gamma"
"""A tensor that only such autoencoders have."""
DOWN, UP = "downsamples", "upsamples"


def wan_vae_prefix(tensors: Mapping[str, Tensor], prefixes: Sequence[str]) -> str | None:
    """Which of the prefixes the names of such an autoencoder begin with; None when there is none."""
    return next((prefix for prefix in prefixes if f"{prefix}{MARK}" in tensors), None)


def build_wan_vae(file: WeightFile, prefix: str) -> Part[WanVae]:
    """The autoencoder below a prefix; ModelFileError when tensors are missing or do not fit together."""
    inside = {name[len(prefix) :]: tensor for name, tensor in file.tensors.items() if name.startswith(prefix)}
    try:
        shape = read_wan_vae_shape(inside)
    except (KeyError, IndexError) as error:
        raise ModelFileError(file.path, f"its VAE lacks {error.args[0]}") from error
    keys = {prefix + name: name for name in inside}
    return build_part(file, "VAE", "vae", lambda: WanVae(shape), keys)


def read_wan_vae_shape(tensors: Mapping[str, Tensor]) -> WanVaeShape:
    """Sizes from an autoencoder's tensors; KeyError when it lacks one that tells them."""
    grouped = any(name.startswith(f"encoder.{DOWN}.0.{DOWN}.") for name in tensors)
    pixels = tensors["encoder.conv1.weight"].shape[1]
    return WanVaeShape(
        latent_channels=tensors["conv2.weight"].shape[0],
        encoder=levels(tensors, f"encoder.{DOWN}", DOWN if grouped else ""),
        decoder=levels(tensors, f"decoder.{UP}", UP if grouped else ""),
        patch=round((pixels / COLOURS) ** 0.5),
        grouped=grouped,
    )


def levels(tensors: Mapping[str, Tensor], place: str, inner: str) -> tuple[Level, ...]:
    """The levels of one half; `inner`: what the layers of a level are called where they are a block."""
    if inner:
        blocks = [f"{place}.{number}.{inner}" for number in numbers(tensors, place)]
        return tuple(
            tuple(layer(tensors, f"{block}.{number}") for number in numbers(tensors, block)) for block in blocks
        )
    layers = [layer(tensors, f"{place}.{number}") for number in numbers(tensors, place)]
    ends = [sum(each.resizes for each in layers[:at]) for at in range(len(layers))]
    return tuple(tuple(layers[at] for at in group) for _, group in groupby(range(len(layers)), key=lambda at: ends[at]))


def numbers(tensors: Mapping[str, Tensor], place: str) -> list[int]:
    """The numbers of the layers below a place; KeyError when there is none."""
    found = {int(name[len(place) + 1 :].split(".")[0]) for name in tensors if name.startswith(f"{place}.")}
    if not found:
        raise KeyError(place)
    return sorted(found)


def layer(tensors: Mapping[str, Tensor], name: str) -> LayerShape:
    """One layer's sizes."""
    resampled = tensors.get(f"{name}.resample.1.weight")
    weight = tensors[f"{name}.residual.2.weight"] if resampled is None else resampled
    return LayerShape(
        into=weight.shape[1],
        out=weight.shape[0],
        resizes=resampled is not None,
        temporal=f"{name}.time_conv.weight" in tensors,
    )
