"""Modules of a file's sizes, built without memory and given the file's mapped tensors. Knows no family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

from executor.errors import ModelFileError
from executor.inference.casting import EIGHT_BITS
from executor.inference.devices import Role
from executor.inference.memory import Part, set_weights
from executor.inference.scaled_weights import MEANT, can_scale
from executor.inference.weights import WeightFile

MISSING_SHOWN = 3
SCALES = ("scale_weight", "weight_scale")
"""What files call the number beside a weight of 8 bits."""
MAKING = frozenset({torch.empty, torch.ones, torch.zeros, torch.full, torch.rand, torch.randn})
FILLING = frozenset(
    {
        Tensor.fill_,
        Tensor.normal_,
        Tensor.uniform_,
        Tensor.zero_,
        init.constant_,
        init.kaiming_uniform_,
        init.normal_,
        init.uniform_,
    }
)
Module = TypeVar("Module", bound=nn.Module)


def assign(
    file: WeightFile, module: nn.Module, empty: Mapping[str, Tensor], weights: Mapping[str, Tensor], what: str
) -> None:
    """Put mapped weights into a module that was built without memory, in the place of its `empty` tensors.

    Raises ModelFileError naming what is missing, of another kind of number, or of another shape than the rest implies.
    """
    missing = [key for key in empty if key not in weights]
    if missing:
        shown = ", ".join(missing[:MISSING_SHOWN])
        raise ModelFileError(file.path, f"its {what} lacks {len(missing)} tensors, such as {shown}")
    for key, blank in empty.items():
        if blank.is_floating_point() and not weights[key].is_floating_point():  # those of 4 bits differ in shape too
            kind = str(weights[key].dtype).removeprefix("torch.")
            raise ModelFileError(
                file.path,
                f"its {what} holds {key} as {kind}",
                "weights of type float32, float16, bfloat16 or float8 fit",
            )
        if weights[key].shape != blank.shape:
            found, implied = tuple(weights[key].shape), tuple(blank.shape)
            raise ModelFileError(
                file.path, f"its {what} has {key} of shape {found} where {implied} follows from the rest"
            )
    set_weights(module, weights.items())
    module.eval()


def scale_beside(tensors: Mapping[str, Tensor], name: str) -> Tensor | None:
    """What a weight is to be multiplied with: files of 8 bits may store that beside it, under one of two names."""
    stem, _, kind = name.rpartition(".")
    if kind != "weight":
        return None
    return next((tensors[f"{stem}.{each}"] for each in SCALES if f"{stem}.{each}" in tensors), None)


def stored_weights(
    file: WeightFile, module: nn.Module, keys: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The weights of a module by its names as they are stored, and what its layers multiply some of them with.

    Weights whose scale their layers cannot take are multiplied now. Raises ModelFileError for scales of parts of rows.
    """
    weights: dict[str, Tensor] = {}
    scales: dict[str, float] = {}
    for name, key in keys.items():
        weights[key], scale = file.tensors[name], scale_beside(file.tensors, name)
        if scale is None or not weights[key].is_floating_point():
            continue
        if weights[key].dtype in EIGHT_BITS and scale.numel() == 1 and can_scale(module, key):
            scales[key] = float(scale.item())
        else:
            weights[key] = (weights[key].float() * by_rows(scale, weights[key], file, key)).to(MEANT)
    return weights, scales


def by_rows(scale: Tensor, weight: Tensor, file: WeightFile, key: str) -> Tensor:
    """A scale as a weight [out, ...] is multiplied with it: one number, or one for each row."""
    if scale.is_floating_point() and scale.numel() in (1, len(weight)):
        return scale.float().reshape(-1, *([1] * (weight.ndim - 1)))
    found = f"{tuple(scale.shape)} scales for {key} of shape {tuple(weight.shape)}"
    raise ModelFileError(file.path, f"holds {found}", "files with one scale for each weight or each of its rows fit")


def build_part(
    file: WeightFile, what: str, role: Role, build: Callable[[], Module], keys: Mapping[str, str]
) -> Part[Module]:
    """A module built without memory, then given the file's tensors; `keys` maps the file's names to the module's.

    Tensors that have no place in the module are left out.
    Raises ModelFileError when tensors are missing or do not fit together.
    """
    module = hollow(build)
    empty = module.state_dict()
    keys = {name: key for name, key in keys.items() if key in empty}
    weights, scales = stored_weights(file, module, keys)
    for key, blank in empty.items():
        # the original keeps some linear layers as 1x1 convolutions
        if key in weights and blank.ndim == 2 and weights[key].ndim == 4:
            weights[key] = weights[key][:, :, 0, 0]
    assign(file, module, empty, weights, what)
    return Part(f"{what} of {file.path.name}", role, module, weights, keys, scales)


def hollow(build: Callable[[], Module]) -> Module:
    """A module whose weights have no memory. The first one of a library imports that, which may take seconds."""
    with Hollow():
        return build()


class Hollow(TorchFunctionMode):
    """While it is entered, this thread makes new tensors without memory, and fills none of those with first values.

    As `torch.device("meta")`, but that one computes those values of nothing, which takes longer than all else here.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        """What torch calls in the place of its functions."""
        given = kwargs or {}
        if func in FILLING:
            filled = args[0] if args else given.get("tensor")
            if isinstance(filled, Tensor) and filled.is_meta:
                return filled
        if func in MAKING and given.get("device") is None:
            given = {**given, "device": "meta"}
        return func(*args, **given)
