"""Modules of a file's sizes, built without memory and given the file's mapped tensors. Knows no family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from executor.errors import ModelFileError
from executor.inference.devices import Role
from executor.inference.memory import Part
from executor.inference.weights import WeightFile

MISSING_SHOWN = 3
Module = TypeVar("Module", bound=nn.Module)


def assign(file: WeightFile, module: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Put mapped weights into a module that was built on the meta device.

    Raises ModelFileError naming what is missing, of another kind of number, or of another shape than the rest implies.
    """
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in weights]
    if missing:
        shown = ", ".join(missing[:MISSING_SHOWN])
        raise ModelFileError(file.path, f"its {what} lacks {len(missing)} tensors, such as {shown}")
    for key, empty in wanted.items():
        if weights[key].shape != empty.shape:
            found, implied = tuple(weights[key].shape), tuple(empty.shape)
            raise ModelFileError(
                file.path, f"its {what} has {key} of shape {found} where {implied} follows from the rest"
            )
        if empty.is_floating_point() and not weights[key].is_floating_point():
            kind = str(weights[key].dtype).removeprefix("torch.")
            raise ModelFileError(
                file.path,
                f"its {what} holds {key} as {kind}",
                "weights of type float32, float16, bfloat16 or float8 fit",
            )
    module.load_state_dict(dict(weights), strict=False, assign=True)
    module.requires_grad_(False)
    module.eval()
    left = [name for name, tensor in module.named_parameters() if tensor.is_meta]
    if left:
        raise ModelFileError(file.path, f"its {what} leaves {len(left)} weights unset, such as {left[0]}")


def scaled(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """A weight as it is meant: files of 8 bits may store a scale beside it (`x.weight`, `x.scale_weight`)."""
    stem, _, kind = name.rpartition(".")
    scale = tensors.get(f"{stem}.scale_weight") if kind == "weight" else None
    if scale is None:
        return tensors[name]
    return (tensors[name].float() * scale.float()).to(torch.float16)


def build_part(
    file: WeightFile, what: str, role: Role, build: Callable[[], Module], keys: Mapping[str, str]
) -> Part[Module]:
    """A module built without memory, then given the file's tensors; `keys` maps the file's names to the module's.

    Tensors that have no place in the module are left out.
    Raises ModelFileError when tensors are missing or do not fit together.
    """
    with torch.device("meta"):
        module = build()
    wanted = module.state_dict()
    keys = {name: key for name, key in keys.items() if key in wanted}
    weights = {key: scaled(file.tensors, name) for name, key in keys.items()}
    for key, empty in wanted.items():
        # the original keeps some linear layers as 1x1 convolutions
        if key in weights and empty.ndim == 2 and weights[key].ndim == 4:
            weights[key] = weights[key][:, :, 0, 0]
    assign(file, module, weights, what)
    return Part(f"{what} of {file.path.name}", role, module, weights, keys)
