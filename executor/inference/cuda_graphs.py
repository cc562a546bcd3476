"""Records work on a CUDA device as a CUDA graph. Knows not what is recorded.

Sources: PyTorch's notes on CUDA graphs (docs.pytorch.org/docs/stable/notes/cuda.html) and torch/cuda/graphs.py. All
graphs of one recorder share a pool of memory: they play one after another, and what one leaves there is copied out
before the next one plays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor

GENERATOR_BYTES = 1024  # two numbers that PyTorch makes for its random generator when a recording begins, 512 for each


class CudaRecorder:
    """Records on one device; a `recordings.Recorder`."""

    def __init__(self, device: torch.device) -> None:
        self.device = torch.device("cuda", device.index or 0)
        self._stream: torch.cuda.Stream | None = None
        self._pool: torch.cuda._POOL_HANDLE | None = None
        self._held = 0
        self._broken: list[torch.cuda.CUDAGraph] = []

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """What plays `run` again, and where its answer then lies. Raises what capturing raises.

        `run` is called twice: once plainly on the stream that records, so that libraries have their workspaces there.
        """
        computing = torch.cuda.current_stream(self.device)
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with torch.cuda.device(self.device):
            self._warm(run, self._stream, computing)
            # A pool whose graphs are all gone cannot be recorded into again: `forget` takes the handle.
            pool = self._pool = self._pool or torch.cuda.graph_pool_handle()
            room = [torch.empty(GENERATOR_BYTES, dtype=torch.uint8, device=self.device)]
            graph = torch.cuda.CUDAGraph()
            has_begun = False
            try:
                # Other threads may allocate meanwhile (previews): only this one's calls are watched.
                mode = "thread_local"
                with own_workspaces(), torch.cuda.graph(graph, pool, self._stream, mode):
                    has_begun = True
                    room.clear()
                    before = torch.cuda.memory_reserved(self.device)
                    answer = run()
            except BaseException:
                torch.cuda.set_stream(computing)  # a broken recording leaves the stream in place
                if has_begun:
                    self._mend(graph, pool)
                else:
                    room.clear()
                    self._register(graph)
                raise
        self._held += max(0, torch.cuda.memory_reserved(self.device) - before)
        return graph.replay, answer

    def held_bytes(self) -> int:
        """Memory of the pool."""
        return self._held

    def settle(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize(self.device)

    def forget(self) -> None:
        """Give the pool back; what is recorded next begins another one."""
        self._pool, self._held = None, 0
        torch.cuda.empty_cache()

    def _warm(self, run: Callable[[], Tensor], stream: torch.cuda.Stream, computing: torch.cuda.Stream) -> None:
        stream.wait_stream(computing)
        with torch.cuda.stream(stream):
            run()
        computing.wait_stream(stream)

    def _register(self, graph: torch.cuda.CUDAGraph) -> None:
        """Let the random generator know a graph whose recording did not begin; its numbers must have room.

        Where there was none for them, older PyTorch (2.11) has the graph know the generator but not the other way
        round, and ends the process when such a graph goes.
        """
        with suppress(RuntimeError):
            graph.register_generator_state(torch.cuda.default_generators[self.device.index])

    def _mend(self, graph: torch.cuda.CUDAGraph, pool: torch.cuda._POOL_HANDLE) -> None:
        """End what the end of a broken recording leaves under way: `capture_end` raises before it comes to it.

        Without this the allocator keeps the pool's memory for good, and a random generator of older PyTorch refuses
        to draw. The pool is released once for each recording that has begun, by the graph itself where it ended well.
        """
        with suppress(RuntimeError):
            graph.pool()  # an error, unless it ended as it should: what failed was none of the device's work
            graph.reset()
            return
        index = self.device.index
        with suppress(RuntimeError, AttributeError):
            torch._C._cuda_endAllocateToPool(index, pool)  # an error from PyTorch 2.13 on, which came to this itself
        with suppress(RuntimeError, AttributeError):
            torch._C._cuda_releasePool(index, pool)
        graph.reset()
        self._broken.append(graph)  # kept: PyTorch's allocator of pinned memory may still ask it
        drawing = torch.cuda.default_generators[index]
        drawing.graphsafe_set_state(drawing.clone_state())


@contextmanager
def own_workspaces() -> Iterator[None]:
    """Let what is recorded within a with block have workspaces of cuBLAS in its own pool, as PyTorch's compiler does.

    Else they are those of the stream that records: 32 MiB for each on Hopper that nobody gives back, and gone from
    under the recording when a network of a pack that is compiled with CUDA graphs clears them.
    """
    clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)
    clear()
    try:
        yield
    finally:
        clear()


def recorder_on(device: torch.device) -> CudaRecorder | None:
    """What records on a device; None where nothing does."""
    return CudaRecorder(device) if device.type == "cuda" else None
