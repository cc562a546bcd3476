"""What results weigh and how much main memory is free: the gauge of `executor/graph/pressure.py`. Drops nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from executor.main_memory import CGROUP, main_memory_free


class RamGauge:
    """Measures main memory; a container's own limit counts too."""

    def __init__(self, cgroup: Path = CGROUP) -> None:
        self._cgroup = cgroup

    def free_bytes(self) -> int:
        """Main memory that is free, to this process at least."""
        return main_memory_free(self._cgroup)

    def pieces(self, values: Iterable[object]) -> Mapping[int, int]:
        """The pieces of main memory that values lie in; storages that tensors share are one piece."""
        found: dict[int, int] = {}
        seen: set[int] = set()
        stack: list[object] = list(values)
        while stack:
            value = stack.pop()
            if isinstance(value, str | int | float | bool | None) or id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, torch.Tensor):
                found |= _tensor(value)
            elif isinstance(value, np.ndarray):
                found |= _array(value)
            elif isinstance(value, bytes | bytearray):
                found[id(value)] = len(value)
            elif isinstance(value, Mapping):
                stack += value.values()
            elif isinstance(value, list | tuple | set | frozenset):
                stack += value
            else:
                found |= _told(value)
        return found


def _tensor(tensor: torch.Tensor) -> dict[int, int]:
    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        return {}
    storage = tensor.untyped_storage()
    return {storage.data_ptr(): storage.nbytes()} if storage.nbytes() else {}


def _array(array: np.ndarray) -> dict[int, int]:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return {id(array): array.nbytes}


def _told(value: object) -> dict[int, int]:
    """What an object says of itself by `get_ram_usage()`, the ecosystem's name."""
    ask = getattr(value, "get_ram_usage", None)
    if not callable(ask):
        return {}
    try:
        return {id(value): max(0, int(ask()))}
    except Exception:  # noqa: BLE001  # border: an object of a pack may raise anything
        return {}
