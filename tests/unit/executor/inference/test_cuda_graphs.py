"""What is mended after a recording that failed: its pool is released once, whichever end the allocator came to."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from executor.inference.cuda_graphs import CudaRecorder


class Graph:
    """A recording that ended well, or did not."""

    def __init__(self, *, ended: bool) -> None:
        self.ended, self.resets = ended, 0

    def pool(self) -> tuple[int, int]:
        if not self.ended:
            raise RuntimeError("Called CUDAGraph::pool() without a preceding successful capture.")
        return (0, 1)

    def reset(self) -> None:
        self.resets += 1


class Generator:
    """A random generator of a device."""

    def clone_state(self) -> Generator:
        return Generator()

    def graphsafe_set_state(self, state: Generator) -> None:
        pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Has a recording mended; tells what the allocator was asked."""

    def mended(graph: Graph, *, ends_itself: bool) -> list[str]:
        told: list[str] = []

        def end(index: int, pool: tuple[int, int]) -> None:
            told.append("end")
            if ends_itself:
                raise RuntimeError("endAllocatePool: not currently recording to mempool_id")

        def release(index: int, pool: tuple[int, int]) -> None:
            told.append("release")

        monkeypatch.setattr(torch, "_C", SimpleNamespace(_cuda_endAllocateToPool=end, _cuda_releasePool=release))
        monkeypatch.setattr(torch.cuda, "default_generators", (Generator(),))
        recorder = CudaRecorder.__new__(CudaRecorder)
        recorder.device, recorder._broken = SimpleNamespace(index=0), []  # type: ignore[assignment]
        recorder._mend(graph, (0, 1))  # type: ignore[arg-type]
        monkeypatch.undo()
        return told

    return mended


@pytest.mark.parametrize("ends_itself", [False, True], ids=["PyTorch 2.11", "PyTorch 2.13"])
def test_the_pool_of_a_broken_recording_is_released(asked: Callable[..., list[str]], ends_itself: bool):
    assert asked(Graph(ended=False), ends_itself=ends_itself) == ["end", "release"]


def test_a_recording_that_ended_well_releases_its_pool_itself(asked: Callable[..., list[str]]):
    graph = Graph(ended=True)
    assert asked(graph, ends_itself=True) == []
    assert graph.resets == 1
