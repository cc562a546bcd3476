"""What a diffusion network tells of itself, whatever its kind: a UNet or a transformer. Knows none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

WeightSlice: TypeAlias = tuple[int, int, int]
"""Dimension, start and length of a part of a weight."""


class LayerPlace(NamedTuple):
    """A layer of a network, or the part of its weights that is a layer of its own elsewhere."""

    layer: str
    part: WeightSlice | None = None
    change: Callable[[Tensor], Tensor] | None = None  # brings rows into the order of this network; needs a part


def parts(prefix: str, names: tuple[str, ...], layer: str, width: int) -> dict[str, LayerPlace]:
    """Projections that are rows of one layer, one below the other."""
    return {f"{prefix}.{name}": LayerPlace(layer, (0, place * width, width)) for place, name in enumerate(names)}


def halves_swapped(rows: Tensor) -> Tensor:
    """Rows of a weight, its second half first: diffusers has scales before shifts."""
    return rows.roll(rows.shape[0] // 2, dims=0)


@runtime_checkable
class DiffusionNetwork(Protocol):
    """A network of Weft's own that predicts from latents, times and text, and runs no code but its own."""

    @property
    def sizes(self) -> dict[str, object]:
        """Its sizes by the names that packs read them by (`unet_config`)."""
        ...

    @property
    def text_width(self) -> int | None:
        """Width of the text's tokens that it takes; None where it takes none."""
        ...

    @property
    def vector_width(self) -> int:
        """Width of the vector beside the time, 0 without."""
        ...

    @property
    def kept_width(self) -> int:
        """Width of all keys together that its layers may keep of one token of text."""
        ...

    @property
    def repeats_text(self) -> bool:
        """Whether it answers the same to text whose tokens come several times, each as often."""
        ...

    @property
    def growing(self) -> tuple[str, ...]:
        """Layers whose input may become wider by a LoRA, which brings what is put there."""
        ...

    def other_names(self) -> Mapping[str, LayerPlace]:
        """Its layers by the names they have in diffusers, where these differ or mean parts of a layer."""
        ...
