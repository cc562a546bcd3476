"""Weights that are stored in 8 bits beside a number they are to be multiplied with (`x.weight`, `x.scale_weight` or
`x.weight_scale`).

They stay as stored and are multiplied where a layer casts them; whatever else asks for one (patches, saving, merging)
gets it as it is meant. Knows no file and no device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

SCALABLE = (nn.Linear, nn.Embedding)
"""Layers whose casting counterparts multiply."""
MEANT = torch.float16
SCALE = "weight_scale"
"""What the layers call their number."""


class MeantWeights(Mapping[str, Tensor]):
    """Stored weights, those with a scale multiplied by it each time that one is asked for."""

    def __init__(self, stored: Mapping[str, Tensor], scales: Mapping[str, float]) -> None:
        self._stored, self._scales = stored, scales

    def __getitem__(self, key: str) -> Tensor:
        scale = self._scales.get(key)
        stored = self._stored[key]
        return stored if scale is None else (stored.float() * scale).to(MEANT)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def __contains__(self, key: object) -> bool:
        return key in self._stored


def set_scales(module: nn.Module, scales: Mapping[str, float]) -> None:
    """Tell each layer of a module what its stored weight is multiplied with; those that are not named, with nothing."""
    for name, leaf in module.named_modules():
        scale = scales.get(f"{name}.weight")
        if isinstance(leaf, SCALABLE) and (scale is not None or hasattr(leaf, SCALE)):
            setattr(leaf, SCALE, scale)


def can_scale(module: nn.Module, key: str) -> bool:
    """Whether the layer of a weight multiplies it with a number."""
    stem, _, kind = key.rpartition(".")
    return kind == "weight" and isinstance(module.get_submodule(stem), SCALABLE)
