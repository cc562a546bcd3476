"""Keys and values that attention layers make of a text, kept from step to step: neither changes while a model samples.

Knows neither which text it is nor when one may be kept.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

KEPT_BYTES = 128 << 20  # in one sampling; SD1.5 takes 15 MiB for one picture, both sides, in float32
PRODUCTS = "weft.products"
"""What transformer_options call the products of the call's text, in calls that run nothing but the network."""


class Projecting(Protocol):
    """An attention layer."""

    @property
    def to_k(self) -> nn.Module:
        """What makes keys."""
        ...

    @property
    def to_v(self) -> nn.Module:
        """What makes values."""
        ...


@dataclass(slots=True)
class Room:
    """Bytes that are left for all texts of a sampling."""

    left: int = KEPT_BYTES


class TextProducts:
    """What each layer made of one text, as long as weights stay what they are."""

    def __init__(self, room: Room) -> None:
        self._room, self._taken = room, 0
        self._weights: Hashable = None
        self._kept: dict[Projecting, tuple[Tensor, Tensor]] = {}

    def under(self, weights: Hashable) -> TextProducts:
        """Itself, for weights in a state that `weights` names; what was made under other ones is forgotten."""
        if weights != self._weights:
            self.forget()
            self._weights = weights
        return self

    def forget(self) -> None:
        """Keep nothing; there is room for others."""
        self._kept.clear()
        self._room.left, self._taken = self._room.left + self._taken, 0

    def of(self, layer: Projecting, context: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's keys and values of the text [B, M, C]; made once, or each time where no room is left."""
        kept = self._kept.get(layer)
        if kept is None:
            key: Tensor = layer.to_k(context)
            kept = key, layer.to_v(context)
            nbytes = sum(each.numel() * each.element_size() for each in kept)
            if nbytes <= self._room.left:
                self._kept[layer] = kept
                self._room.left, self._taken = self._room.left - nbytes, self._taken + nbytes
        return kept
