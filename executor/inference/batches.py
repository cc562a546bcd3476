"""Batches of pictures, masks or latents: parts taken by number, and two joined at one size. Knows no nodes.

A batch is a tensor whose first dimension counts, or a latent: a dictionary whose `samples` are one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.pixels import common_upscale

Batch: TypeAlias = Any  # Tensor, or a latent with whatever keys packs add
STRATEGIES = ("match A", "match B", "match smaller", "match larger")
_INDEX = re.compile(r"\s*(-?\d+)?\s*(?::\s*(-?\d+)?\s*(?::\s*(-?\d+)?\s*)?)?\s*")


def values_of(batch: Batch) -> Tensor:
    """The tensor of a batch whose first dimension counts; NodeInputError for what is none."""
    values = batch.get("samples") if isinstance(batch, Mapping) else batch
    if not isinstance(values, Tensor):
        raise NodeInputError(f"{type(batch).__name__} is no batch of pictures, masks or latents")
    return values


def taken(batch: Batch, numbers: Sequence[int]) -> Batch:
    """The items of these numbers, in their order; every part of a latent that has an item for each is taken so."""
    count = len(values_of(batch))
    if isinstance(batch, Mapping):
        return {key: _part(part, numbers, count) for key, part in batch.items()}
    return batch[list(numbers)]


def _part(part: object, numbers: Sequence[int], count: int) -> object:
    if isinstance(part, Tensor) and part.ndim and len(part) == count:
        return part[list(numbers)]
    if isinstance(part, list) and len(part) == count:
        return [part[number] for number in numbers]
    return part


def numbers_of(text: str, count: int, *, must_exist: bool = True) -> list[int]:
    """What "0,2,5:8,-1" means among `count` items: places and ranges as in Python.

    NodeInputError for what is neither. Places that are not there are left out, or, with `must_exist`, an error too.
    """
    found: list[int] = []
    for piece in text.split(","):
        match = _INDEX.fullmatch(piece)
        if match is None or not piece.strip() or match[3] == "0":
            raise NodeInputError(f"input 'indexes': {piece.strip()!r} is neither a number nor a range such as 5:8")
        if ":" in piece:
            found += range(count)[slice(*(int(part) if part else None for part in match.groups()))]
            continue
        number = int(match[1])
        if -count <= number < count:
            found.append(number % count)
        elif must_exist:
            raise NodeInputError(f"input 'indexes': there is no item {number} among {count}")
    return found


def merged(first: Batch, second: Batch, strategy: str, method: str, crop: str) -> Batch:
    """The items of both, `first` before, scaled to the size of one of them; a latent keeps the first's other parts."""
    ours, theirs = _planes(first), _planes(second)
    size = _size_for(strategy, ours.shape[-2:], theirs.shape[-2:])
    joined = torch.cat([_scaled(ours, size, method, crop), _scaled(theirs, size, method, crop)])
    if isinstance(first, Mapping):
        kept = {key: part for key, part in first.items() if key not in ("noise_mask", "batch_index")}
        return {**kept, "samples": joined}
    return joined.squeeze(1) if first.ndim == 3 else joined.movedim(1, -1)


def _planes(batch: Batch) -> Tensor:
    """A batch as [B, C, H, W]."""
    values = values_of(batch)
    if isinstance(batch, Mapping):
        return values
    return values.unsqueeze(1) if values.ndim == 3 else values.movedim(-1, 1)


def _size_for(strategy: str, ours: Sequence[int], theirs: Sequence[int]) -> tuple[int, int]:
    if strategy not in STRATEGIES:
        raise NodeInputError(f"input 'merge_strategy': {strategy!r} is none of {', '.join(STRATEGIES)}")
    areas = (ours[0] * ours[1], theirs[0] * theirs[1])
    is_ours = {
        "match A": True,
        "match B": False,
        "match smaller": areas[0] <= areas[1],
        "match larger": areas[0] >= areas[1],
    }[strategy]
    return cast(tuple[int, int], tuple(ours if is_ours else theirs))


def _scaled(planes: Tensor, size: tuple[int, int], method: str, crop: str) -> Tensor:
    if tuple(planes.shape[-2:]) == size:
        return planes
    return common_upscale(planes, size[1], size[0], method, crop)
