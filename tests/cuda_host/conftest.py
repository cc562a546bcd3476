"""The pretended runtime as tests see it: its counts, and calls that it is told to refuse."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import pytest
import torch


class Call(IntEnum):
    """Calls that can be refused, in the order of books.h."""

    ALLOCATION = 0
    PINNED_ALLOCATION = 1
    INSTANTIATION = 2
    LAUNCH = 3


class Count(IntEnum):
    """What is counted, in the order of books.cpp."""

    LAUNCHES = 0
    PLAYED = 1
    WAITS = 2
    GRAPHS = 3
    EVENTS = 4
    COMPLAINTS = 5
    DEVICE_BYTES = 6
    PINNED_BYTES = 7


class Runtime:
    """The library that was loaded before PyTorch."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        library.cuda_host_refuse.argtypes = [ctypes.c_int, ctypes.c_long, ctypes.c_long]
        library.cuda_host_calls.restype = library.cuda_host_count.restype = ctypes.c_long

    def count(self, what: Count) -> int:
        """How many, or how much, so far."""
        return self.library.cuda_host_count(what)

    @contextmanager
    def refusing(self, call: Call, after: int, times: int = 1 << 30) -> Iterator[None]:
        """Refuse `times` calls of a kind behind the next `after`, within a with block."""
        self.library.cuda_host_refuse(call, after, times)
        try:
            yield
        finally:
            self.library.cuda_host_refuse(call, 0, 0)

    def calls(self, call: Call) -> int:
        """Calls of a kind since `refusing` began or ended."""
        return self.library.cuda_host_calls(call)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The pretended device."""
    return torch.device("cuda", 0)


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """The pretended runtime."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "cuda_host_refuse"):
        pytest.skip("needs the pretended CUDA runtime: tests/cuda_host/README.md")
    return Runtime(library)


@pytest.fixture(autouse=True)
def _without_complaints(runtime: Runtime) -> Iterator[None]:
    """Nothing that a device would not have let pass, in any test."""
    before = runtime.count(Count.COMPLAINTS)
    yield
    assert runtime.count(Count.COMPLAINTS) == before, "see the lines that begin with cuda_host"


def settled_bytes() -> int:
    """Bytes of all tensors on the device once garbage and cuBLAS's workspaces (one a stream) are gone."""
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated()
