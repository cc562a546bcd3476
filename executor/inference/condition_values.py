"""Values that go with a condition into a network call, as packs see them: how they are cut, repeated and joined.

Names are the ecosystem's (reference/custom_node_surface.md, comfy.conds).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from executor.inference.pixels import repeat_to

# Embeddings of different lengths share a call when repeating each to the common multiple costs at most this much.
LONGEST_REPEAT = 4


class CONDRegular:
    """A tensor with a batch."""

    def __init__(self, cond: object) -> None:
        self.cond: Any = cond

    def _copy_with(self, cond: object) -> Self:
        return self.__class__(cond)

    def process_cond(
        self, batch_size: int, device: torch.device | None = None, area: Sequence[int] | None = None, **options: object
    ) -> Self:
        """The tensor for so many items, on a device."""
        return self._copy_with(repeat_to(self.cond, batch_size).to(device))

    def can_concat(self, other: CONDRegular) -> bool:
        """Whether both go into one call."""
        return bool(self.cond.shape == other.cond.shape and self.cond.device == other.cond.device)

    def concat(self, others: Sequence[CONDRegular]) -> Any:  # noqa: ANN401  (a tensor, several, or one value)
        """All in one batch."""
        return torch.cat([self.cond, *(other.cond for other in others)])

    def size(self) -> list[int]:
        """Its shape."""
        return list(self.cond.size())


class CONDNoiseShape(CONDRegular):
    """A tensor in the shape of the latents: it is cut to an area with them."""

    def process_cond(
        self, batch_size: int, device: torch.device | None = None, area: Sequence[int] | None = None, **options: object
    ) -> Self:
        """The tensor's part of an area (sizes, then starts), for so many items."""
        data = self.cond
        if area is not None:
            dims = len(area) // 2
            for dim in range(dims):
                data = data.narrow(dim + 2, area[dim + dims], area[dim])
        return self._copy_with(repeat_to(data, batch_size).to(device))


class CONDCrossAttn(CONDRegular):
    """An embedding [B, T, C]: of several lengths each is repeated to the common multiple."""

    def can_concat(self, other: CONDRegular) -> bool:
        mine, theirs = self.cond.shape, other.cond.shape
        if mine == theirs:
            return bool(self.cond.device == other.cond.device)
        if mine[0] != theirs[0] or mine[2] != theirs[2]:
            return False
        return bool(math.lcm(mine[1], theirs[1]) <= LONGEST_REPEAT * min(mine[1], theirs[1]))

    def concat(self, others: Sequence[CONDRegular]) -> Tensor:
        conds = [self.cond, *(other.cond for other in others)]
        length = math.lcm(*(cond.shape[1] for cond in conds))
        return torch.cat([cond.repeat(1, length // cond.shape[1], 1) for cond in conds])


class CONDConstant(CONDRegular):
    """One value for the whole call."""

    def process_cond(
        self, batch_size: int, device: torch.device | None = None, area: Sequence[int] | None = None, **options: object
    ) -> Self:
        return self._copy_with(self.cond)

    def can_concat(self, other: CONDRegular) -> bool:
        return bool(self.cond == other.cond)

    def concat(self, others: Sequence[CONDRegular]) -> object:
        return self.cond

    def size(self) -> list[int]:
        return [1]


class CONDList(CONDRegular):
    """Several tensors."""

    def process_cond(
        self, batch_size: int, device: torch.device | None = None, area: Sequence[int] | None = None, **options: object
    ) -> Self:
        return self._copy_with([repeat_to(each, batch_size).to(device) for each in self.cond])

    def can_concat(self, other: CONDRegular) -> bool:
        return [each.shape for each in self.cond] == [each.shape for each in other.cond]

    def concat(self, others: Sequence[CONDRegular]) -> list[Tensor]:
        return [torch.cat([each, *(other.cond[place] for other in others)]) for place, each in enumerate(self.cond)]

    def size(self) -> list[int]:
        return [sum(math.prod(each.size()) for each in self.cond)]
