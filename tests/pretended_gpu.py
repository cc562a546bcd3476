"""A CUDA device that is none: tensors say that they lie on it and the CPU computes them. No product code.

It refuses what a device refuses: tensors of two devices in one operation, reading while a graph is recorded or where
waiting is an error, more memory than there is. Graphs are recorded operation by operation and played back on the very
tensors they were recorded with. Streams are told apart and run at once: order between them is not tested here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")
MEMORY = 16 << 30
READS = {"_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "is_nonzero"}
NUMBERS: dict[Any, Callable[[Any], Any]] = {
    Tensor.item: lambda number: number,
    Tensor.__float__: float,
    Tensor.__int__: int,
    Tensor.__bool__: bool,
    Tensor.__index__: int,
}
COPIES = {"_to_copy", "copy_", "index", "index_put_", "_index_put_impl_"}
MAY_WAIT = READS | COPIES
MEETING = {"copy_", "_to_copy", "index", "index_put_", "index_put", "_index_put_impl_", "set_"}
"""Operations that take tensors of both devices."""


@dataclass(eq=False)
class Stream:
    """One of the device's queues."""

    device: object = None
    priority: int = 0
    number: int = field(default_factory=itertools.count(1).__next__)
    capturing: Graph | None = None

    def wait_stream(self, other: Stream) -> None:
        """Nothing: all run at once."""

    def wait_event(self, event: Event) -> None:
        """Nothing, for an event that was recorded."""
        assert event.recorded, "an event that was never recorded is waited for"

    def record_event(self, event: Event | None = None) -> Event:
        """An event that has happened."""
        event = event or Event()
        event.recorded = True
        return event

    def synchronize(self) -> None:
        """Nothing."""


@dataclass(eq=False)
class Event:
    """A place in a queue."""

    enable_timing: bool = False
    recorded: bool = False

    def record(self, stream: Stream | None = None) -> None:
        """It has happened."""
        self.recorded = True

    def synchronize(self) -> None:
        """Nothing."""

    def elapsed_time(self, other: Event) -> float:
        """One millisecond."""
        return 1.0


@dataclass(eq=False)
class Graph:
    """Operations in order, what they were given and what they answered."""

    made: list[tuple[Any, Any, Any, Any]] = field(default_factory=list)
    is_broken: bool = False
    held_in: object = None  # the pool of a recording that ended well
    knows: list[object] = field(default_factory=list)  # random generators whose state it has

    def pool(self) -> object:
        """Which pool it works in; an error before it is recorded."""
        if self.held_in is None:
            raise RuntimeError("Called CUDAGraph::pool() without a preceding successful capture.")
        return self.held_in

    def register_generator_state(self, generator: object) -> None:
        """Let both know each other."""
        self.knows.append(generator)

    def replay(self) -> None:
        """Run them again."""
        for func, args, kwargs, answers in self.made:
            again = func(*args, **kwargs)
            for old, new in zip(leaves_of([answers]), leaves_of([again]), strict=True):
                if isinstance(old, Tensor) and not is_same_memory(old, new):
                    old.copy_(new)

    def reset(self) -> None:
        """Forget them."""
        self.made.clear()


class There(Tensor):
    """A tensor on the device; `held` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        made = cast(
            There,
            torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                cls,
                held.shape,
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=CUDA,
            ),
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        raise AssertionError(f"{func} outside the pretended device")

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"There({list(self.shape)}, {self.dtype})"


class PretendedGpu(TorchDispatchMode):
    """The device: computes what lies on it, keeps its books."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = MEMORY
        self.waits_are_errors = False
        self.default = Stream(number=0)
        self.current = self.default
        self.alive = WeakIdKeyDictionary()
        self.begun: list[object] = []  # pools that are recorded into
        self.released: list[object] = []
        self.pinned = WeakIdKeyDictionary()  # copies that say that they are
        self.replayed = self.recorded = 0
        self.emptied: list[str] = []  # what was given back: "workspaces", "pinned"; and "recorded" in between

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func._opname
        given = kwargs or {}
        leaves = [*leaves_of(args), *leaves_of(list(given.values()))]
        asked = next((x.type for x in leaves if isinstance(x, torch.device)), None)
        own = {id(x.held): x for x in leaves if isinstance(x, There)}
        if not own and asked != "cuda":
            return func(*args, **given)
        self._refuse_two_devices(name, leaves)
        if name in MAY_WAIT:
            self._refuse_waiting(name, args, given, asked)
        here, named = on_host(args), on_host(given)
        answers = func(*here, **named)
        if self.current.capturing is not None:
            self._note(self.current.capturing, func, here, named, answers)
        leaves_there = asked == "cpu" or name == "_local_scalar_dense"
        return answers if leaves_there else self.placed(answers, own)

    def placed(self, x: Any, known: Mapping[int, There] | None = None) -> Any:
        """Tensors of the host as ones of the device; anything else as it is."""
        if isinstance(x, list | tuple):
            return type(x)(self.placed(each, known) for each in x)
        if not isinstance(x, Tensor):
            return x
        if known and id(x) in known:
            return known[id(x)]
        of = next((each for each in (known or {}).values() if is_same_memory(each.held, x)), None)
        with torch.inference_mode(torch.is_inference_mode_enabled() if of is None else of.is_inference()):
            made = There(x)  # a view is as what it is of
        self.alive[made] = None
        if self.limit < MEMORY and self.allocated() > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than was pretended.")
        return made

    def allocated(self) -> int:
        """Bytes of all tensors on the device, each memory counted once, those of recordings too."""
        held = [each.held for each in list(self.alive)]
        stores = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in held}
        return sum(stores.values())

    def _note(self, graph: Graph, func: Any, here: Any, named: Any, answers: Any) -> None:
        graph.made.append((func, here, named, answers))
        given = [x for x in leaves_of([here, list(named.values())]) if isinstance(x, Tensor)]
        for each in leaves_of([answers]):
            is_new = isinstance(each, Tensor) and not any(is_same_memory(each, x) for x in given)
            if is_new and each.is_floating_point():
                each.fill_(torch.nan)  # nothing is computed while it is recorded

    def _refuse_two_devices(self, name: str, leaves: list[Any]) -> None:
        if name in MEETING:
            return
        tensors = [x for x in leaves if isinstance(x, Tensor)]
        if any(isinstance(x, There) for x in tensors) and any(not isinstance(x, There) and x.ndim > 0 for x in tensors):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, cuda:0 and cpu")

    def _refuse_waiting(self, name: str, args: Any, kwargs: Mapping[str, Any], asked: str | None) -> None:
        waits = name in READS
        if name == "_to_copy" and asked is not None:
            waits = self._copy_waits(args[0], asked == "cuda", bool(kwargs.get("non_blocking")))
        if name == "copy_" and isinstance(args[0], There) != isinstance(args[1], There):
            waits = self._copy_waits(args[1], isinstance(args[0], There), len(args) > 2 and bool(args[2]))
        if name in ("index", "index_put_", "_index_put_impl_") and isinstance(args[0], There):
            places = [x for x in args[1] if isinstance(x, Tensor)]
            waits = any(x.dtype == torch.bool or not isinstance(x, There) for x in places)
        if waits and self.current.capturing is not None:
            self.current.capturing.is_broken = True
            raise torch.AcceleratorError("CUDA error: operation not permitted when stream is capturing")
        if waits and self.waits_are_errors:
            raise RuntimeError(f"called a synchronizing CUDA operation: {name}")

    def _copy_waits(self, source: Tensor, arrives: bool, non_blocking: bool) -> bool:
        if isinstance(source, There) == arrives:
            return False
        return not non_blocking or (arrives and source not in self.pinned)


class Bindings(TorchFunctionMode):
    """What PyTorch's own bindings cannot do without a device of the kind, done on the numbers."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is Tensor.__getitem__ and isinstance(args[0], There):
            return viewed(args[0], args[1])
        if func is Tensor.__setitem__ and isinstance(args[0], There):
            value = args[2]
            target = viewed(args[0], args[1])
            if isinstance(value, Tensor):
                return self.__torch_function__(Tensor.copy_, (), (target, value))
            return target.fill_(value)
        if func is Tensor.contiguous and isinstance(args[0], There):
            form = given.get("memory_format", torch.contiguous_format)
            lies_so = args[0].is_contiguous(memory_format=form)
            return args[0] if lies_so else torch.clone(args[0], memory_format=form)
        if func is Tensor.copy_ and any(isinstance(x, There) for x in args[:2]):
            if args[0].is_inference() and not torch.is_inference_mode_enabled():
                raise RuntimeError("Inplace update to inference tensor outside InferenceMode is not allowed.")
            more = (bool(args[2] if len(args) > 2 else given.get("non_blocking")),)
            return self.gpu.__torch_dispatch__(torch.ops.aten.copy_.default, (), (*args[:2], *more))
        if func in NUMBERS and isinstance(args[0], There):
            return NUMBERS[func](torch.ops.aten._local_scalar_dense(args[0]))
        if func is Tensor.tolist and isinstance(args[0], There):
            return args[0].cpu().tolist()
        if func is Tensor.pin_memory:
            copied = args[0].clone()
            self.gpu.pinned[copied] = None
            return copied
        if func is Tensor.is_pinned:
            return args[0] in self.gpu.pinned
        if func is Tensor.new_tensor and isinstance(args[0], There):
            return torch.tensor(args[1], dtype=given.get("dtype", args[0].dtype)).to(CUDA)
        if func is torch.tensor and torch.device(given.get("device") or "cpu").type == "cuda":
            return torch.tensor(*args, **{**given, "device": None}).to(CUDA)
        return func(*args, **given)


def viewed(x: Tensor, place: Any) -> Any:
    """x[place] by operations."""
    places = place if isinstance(place, tuple) else (place,)
    if any(isinstance(each, Tensor | list) for each in places):
        return indexed(x, places)
    dim, missing = 0, x.ndim - sum(each is not None and each is not Ellipsis for each in places)
    for each in places:
        if each is Ellipsis:
            dim += missing
        elif each is None:
            x, dim = x.unsqueeze(dim), dim + 1
        elif isinstance(each, slice):
            start, stop, step = each.indices(x.shape[dim])
            x, dim = torch.ops.aten.slice.Tensor(x, dim, start, max(start, stop), step), dim + 1
        else:
            x = x.select(dim, int(each))
    return x


def indexed(x: Tensor, places: tuple[Any, ...]) -> Any:
    """x at places that are tensors, whole dimensions before and behind them."""
    indices: list[Tensor | None] = []
    for each in places:
        if isinstance(each, slice):
            assert each == slice(None), "a part beside a list of places is not pretended"
            indices.append(None)
        else:
            indices.append(each if isinstance(each, Tensor) else torch.tensor(each))
    return torch.ops.aten.index.Tensor(x, indices)


def on_host(x: Any) -> Any:
    """What the CPU computes with."""
    if isinstance(x, There):
        return x.held
    if isinstance(x, list | tuple):
        return type(x)(map(on_host, x))
    if isinstance(x, dict):
        return {name: on_host(held) for name, held in x.items()}
    return CPU if isinstance(x, torch.device) and x.type == "cuda" else x


def leaves_of(x: list[Any] | tuple[Any, ...]) -> list[Any]:
    """What lists in lists hold."""
    found: list[Any] = []
    for each in x:
        if isinstance(each, list | tuple):
            found += leaves_of(each)
        else:
            found.append(each)
    return found


def is_same_memory(one: Tensor, other: Tensor) -> bool:
    """Whether both are of one memory."""
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


class Capture:
    """`torch.cuda.graph`: raises at its end where the recording was broken, and leaves the stream as PyTorch does."""

    def __init__(self, gpu: PretendedGpu, graph: Graph, pool: object, stream: Stream) -> None:
        self.gpu, self.graph, self.pool, self.stream = gpu, graph, pool, stream

    def __enter__(self) -> None:
        self.before, self.gpu.current = self.gpu.current, self.stream
        self.gpu.begun.append(self.pool)
        self.stream.capturing = self.graph

    def __exit__(self, *failure: object) -> None:
        self.stream.capturing = None
        if self.graph.is_broken:
            raise torch.AcceleratorError("CUDA error: operation failed due to a previous error during capture")
        self.gpu.begun.remove(self.pool)
        self.graph.held_in = self.pool
        self.gpu.recorded += 1
        self.gpu.emptied.append("recorded")
        self.gpu.current = self.before


@contextmanager
def on_stream(gpu: PretendedGpu, stream: Stream) -> Iterator[None]:
    """`torch.cuda.stream`."""
    before, gpu.current = gpu.current, stream
    try:
        yield
    finally:
        gpu.current = before


class HostGenerator(torch.Generator):
    """One on the host, whatever is asked for."""

    def __new__(cls, device: object = None) -> HostGenerator:
        return super().__new__(cls, "cpu")


def names(gpu: PretendedGpu) -> dict[str, Any]:
    """What stands in `torch.cuda`'s place, by name."""

    def end(index: int, pool: object) -> None:
        if pool not in gpu.begun:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        gpu.begun.remove(pool)

    def switch(mode: str | int) -> None:
        gpu.waits_are_errors = mode in ("error", 2)

    def share(fraction: float, device: object = None) -> None:
        gpu.limit = int(MEMORY * fraction)

    def use(stream: Stream) -> None:
        gpu.current = stream

    def capture(graph: Graph, pool: object = None, stream: Any = None, capture_error_mode: str = "global") -> Capture:
        return Capture(gpu, graph, pool, stream)

    handles = itertools.count(1)
    fixed: dict[str, Any] = {
        "is_available": True,
        "is_initialized": True,
        "_is_in_bad_fork": False,
        "device_count": 1,
        "current_device": 0,
        "get_device_capability": (9, 0),
        "get_device_name": "a pretended device",
        "reset_peak_memory_stats": None,
        "empty_cache": None,
        "synchronize": None,
        "_lazy_init": None,
    }
    found: dict[str, Any] = {name: answering(value) for name, value in fixed.items()}
    return {
        **{f"torch.cuda.{name}": value for name, value in found.items()},
        "torch.cuda.get_device_properties": lambda *_: type("Properties", (), {"total_memory": MEMORY})(),
        "torch.cuda.mem_get_info": lambda *_: (max(0, gpu.limit - gpu.allocated()), MEMORY),
        "torch.cuda.memory_allocated": lambda *_: gpu.allocated(),
        "torch.cuda.memory_reserved": lambda *_: gpu.allocated(),
        "torch.cuda.max_memory_allocated": lambda *_: gpu.allocated(),
        "torch.cuda.Stream": Stream,
        "torch.cuda.Event": Event,
        "torch.cuda.CUDAGraph": Graph,
        "torch.cuda.graph": capture,
        "torch.cuda.graph_pool_handle": lambda: (0, next(handles)),
        "torch.cuda.current_stream": lambda *_: gpu.current,
        "torch.cuda.default_stream": lambda *_: gpu.default,
        "torch.cuda.set_stream": use,
        "torch.cuda.stream": lambda stream: on_stream(gpu, stream),
        "torch.cuda.device": lambda *_: nullcontext(),
        "torch.cuda.is_current_stream_capturing": lambda: gpu.current.capturing is not None,
        "torch.cuda.set_sync_debug_mode": switch,
        "torch.cuda.get_sync_debug_mode": lambda: 2 if gpu.waits_are_errors else 0,
        "torch.cuda.set_per_process_memory_fraction": share,
        "torch.Generator": HostGenerator,
        "torch._C._cuda_endAllocateToPool": end,
        "torch._C._cuda_clearCublasWorkspaces": lambda: gpu.emptied.append("workspaces"),
        "torch._C._host_emptyCache": lambda: gpu.emptied.append("pinned"),
        "torch._C._cuda_releasePool": lambda index, pool: gpu.released.append(pool),
    }


def answering(value: Any) -> Callable[..., Any]:
    """A function that answers always the same."""
    return lambda *_, **__: value


@contextmanager
def pretended_gpu() -> Iterator[PretendedGpu]:
    """`torch.cuda` has a device within a with block."""
    gpu = PretendedGpu()
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for name, value in names(gpu).items():
            patch.setattr(name, value, raising=False)
        patch.setattr(Tensor, "record_stream", lambda x, stream: None)
        patch.setattr("torch.cuda.default_generators", (HostGenerator(),), raising=False)
        stack.enter_context(Bindings(gpu))
        stack.enter_context(gpu)
        stack.enter_context(torch.no_grad())
        yield gpu
