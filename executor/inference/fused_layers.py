"""Networks in diffusers' names brought to the original ones, where several layers are one. Knows no network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from executor.inference.building import SCALES, scale_beside
from executor.inference.network import LayerPlace
from executor.inference.scaled_weights import MEANT

KINDS = ("weight", "bias")


def original_tensors(tensors: Mapping[str, Tensor], layers: Mapping[str, LayerPlace]) -> dict[str, Tensor]:
    """The tensors of layers in their original names; `layers` are diffusers' names and what they mean.

    Layers that are rows of one are joined in memory, those with scales as they are meant; tensors of no such layer are
    left out.
    """
    found: dict[str, Tensor] = {}
    rows: dict[str, list[tuple[int, Tensor]]] = {}
    for theirs, place in layers.items():
        for kind in KINDS:
            tensor = tensors.get(f"{theirs}.{kind}")
            if tensor is None:
                continue
            ours = f"{place.layer}.{kind}"
            scale = scale_beside(tensors, f"{theirs}.{kind}")
            if scale is not None and place.part is not None and scale.numel() in (1, len(tensor)):
                tensor = (tensor.float() * scale.float().reshape(-1, *(1,) * (tensor.ndim - 1))).to(MEANT)
            elif scale is not None:
                found[f"{place.layer}.{SCALES[0]}"] = scale
            if place.part is None:
                found[ours] = tensor
            else:
                changed = tensor if place.change is None else place.change(tensor)
                rows.setdefault(ours, []).append((place.part[1], changed))
    joined = {name: [each for _, each in sorted(parts, key=first)] for name, parts in rows.items()}
    return found | {name: torch.cat(parts) if len(parts) > 1 else parts[0] for name, parts in joined.items()}


def first(part: tuple[int, Tensor]) -> int:
    """The row that a part begins at."""
    return part[0]
