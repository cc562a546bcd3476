"""Memory that runs out at any call: all is given back, one more try, figures at the end, and the next work works.

PyTorch itself tries once more after a refused allocation, with what it kept for later given back. So two refusals in
a row are the first that our code hears of.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from executor.errors import OutOfMemory
from executor.inference.memory import Memory
from tests.cuda_host.conftest import Call, Count, Runtime, settled_bytes
from tests.cuda_host.works import RECORDED, WORKS, Work

pytestmark = pytest.mark.gpu

MOST_PLACES = 40  # that are tried of one work


@pytest.fixture(params=WORKS)
def name(request: pytest.FixtureRequest) -> str:
    """A kind of work."""
    return request.param


def places(runtime: Runtime, memory: Memory, work: Work, call: Call) -> Iterator[int]:
    """Numbers of calls of a kind that one work makes, from a device without models on; some of them, if many."""
    work()
    memory.unload_all()
    settled_bytes()
    with runtime.refusing(call, 1 << 40):
        work()
        made = runtime.calls(call)
    step = max(1, made // MOST_PLACES)
    for place in range(0, made, step):
        memory.unload_all()
        settled_bytes()
        yield place


def works_or_tells_figures(work: Work) -> bool:
    """Whether work ends well, or in an error with the device's figures."""
    try:
        work()
    except OutOfMemory as failure:
        return "MiB are free on cuda" in str(failure)
    return True


def test_the_second_try_works_wherever_memory_was_short(
    runtime: Runtime, device: torch.device, tmp_path: Path, name: str
):
    memory = Memory(device)
    work, base = WORKS[name](tmp_path, memory), None
    for place in places(runtime, memory, work, Call.ALLOCATION):
        base = settled_bytes() if base is None else base
        with runtime.refusing(Call.ALLOCATION, place, 2):
            work()
        memory.unload_all()
        assert settled_bytes() <= base, place


def test_memory_that_stays_short_ends_in_figures_and_leaves_nothing(
    runtime: Runtime, device: torch.device, tmp_path: Path, name: str
):
    memory = Memory(device)
    work, base = WORKS[name](tmp_path, memory), None
    for place in places(runtime, memory, work, Call.ALLOCATION):
        base = settled_bytes() if base is None else base
        with runtime.refusing(Call.ALLOCATION, place):
            assert works_or_tells_figures(work)  # the try from the file may do with what PyTorch holds
        memory.unload_all()
        assert settled_bytes() <= base, place
    work()


@pytest.mark.parametrize("name", RECORDED)
def test_a_graph_that_is_not_made_for_want_of_memory_leaves_nothing(
    runtime: Runtime, device: torch.device, tmp_path: Path, name: str
):
    memory = Memory(device)
    work, base, before = WORKS[name](tmp_path, memory), None, 0
    for _ in range(3):
        with runtime.refusing(Call.INSTANTIATION, 0):
            work()
        memory.unload_all()
        if base is None:
            base, before = settled_bytes(), runtime.count(Count.DEVICE_BYTES)
        assert settled_bytes() <= base
    assert runtime.count(Count.DEVICE_BYTES) <= before
    played = runtime.count(Count.PLAYED)
    work()
    assert runtime.count(Count.PLAYED) > played


@pytest.mark.parametrize("name", ["sd15", "flux", "wan"])
def test_a_kernel_that_is_not_loaded_for_want_of_memory_is_asked_again(
    runtime: Runtime, device: torch.device, tmp_path: Path, name: str
):
    memory = Memory(device)
    work, base = WORKS[name](tmp_path, memory), None
    for place in places(runtime, memory, work, Call.LAUNCH):
        base = settled_bytes() if base is None else base
        with runtime.refusing(Call.LAUNCH, place, 1):
            work()
        memory.unload_all()
        assert settled_bytes() <= base, place


def test_pinned_memory_that_is_short(runtime: Runtime, device: torch.device, tmp_path: Path, name: str):
    memory = Memory(device, "low")
    work = WORKS[name](tmp_path, memory)
    for place in places(runtime, memory, work, Call.PINNED_ALLOCATION):
        with runtime.refusing(Call.PINNED_ALLOCATION, place):
            assert works_or_tells_figures(work)
    work()
