"""A folder of recorded numbers (numeric README), what was read of it, and what a comparison gives. Knows no node."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

SHIPPED = Path(__file__).parents[1] / "data" / "numeric"


class Read(dict[str, Tensor]):
    """Tensors of a file that remember which of them were looked at."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__(tensors)
        self.seen: set[str] = set()

    def __getitem__(self, key: str) -> Tensor:
        self.seen.add(key)
        return super().__getitem__(key)


class Recording:
    """One folder of recordings; files that are missing hold nothing."""

    def __init__(self, folder: Path, device: torch.device | None = None) -> None:
        """`device`: where toy models compute; None: on the CPU."""
        self.folder, self.device = folder, device
        self.tensors = functools.cache(self._tensors)
        self.described = functools.cache(self._described)

    def _tensors(self, file: str) -> Read:
        path = self.folder / f"{file}.safetensors"
        return Read(load_file(path) if path.exists() else {})

    def _described(self, file: str) -> dict[str, Any]:
        path = self.folder / f"{file}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def cases(self, file: str) -> dict[str, dict[str, Any]]:
        """The cases of a file by name that can be compared: the original answered, and with numbers."""
        described = self.described(file)
        return {name: case for name, case in described.get("cases", {}).items() if "error" not in case}

    def tensor(self, file: str, key: str) -> Tensor:
        """A recorded tensor of one's own."""
        return self.tensors(file)[key].clone()

    def known(self, file: str) -> dict[str, Any]:
        """A description; the shipped one where this recording has none."""
        return self.described(file) or Recording(SHIPPED).described(file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """How far one result is from the recorded one, and how far it may be."""

    part: str
    error: float
    bound: float

    @property
    def of_bound(self) -> float:
        """The error as a share of its bound; NaN is too much."""
        if math.isnan(self.error):
            return math.inf
        return self.error / self.bound if self.bound else (math.inf if self.error else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One case and how to compare it."""

    file: str
    name: str
    measure: Callable[[], Iterator[Figure]]


def relative(part: str, actual: Tensor, expected: Tensor, bound: float) -> Figure:
    """The largest difference relative to the largest entry of the recorded tensor."""
    largest = float(expected.abs().max()) if expected.numel() else 1.0
    return Figure(part=part, error=distance(actual, expected) / max(largest, 1e-6), bound=bound)


def absolute(part: str, actual: Tensor, expected: Tensor, bound: float) -> Figure:
    """The largest difference."""
    return Figure(part=part, error=distance(actual, expected), bound=bound)


def exact(part: str, actual: object, expected: object) -> Figure:
    """Whether two values are the same."""
    return Figure(part=part, error=0.0 if actual == expected else 1.0, bound=0.0)


def distance(actual: Tensor, expected: Tensor) -> float:
    """The largest difference of two tensors; infinity when their shapes are not one."""
    if actual.shape != expected.shape:
        return math.inf
    return float((actual.double() - expected.double()).abs().max()) if expected.numel() else 0.0
