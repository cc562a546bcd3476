"""Which modules' weights lie where: loads them for use, puts the longest unused ones back when room is needed.

Every module keeps its pristine weights, mapped from the file; placing a module puts copies into it (or the mapped
tensors themselves), and releasing it puts the mapped ones back. Knows nothing of what modules compute.
One thread uses a Memory: the one that runs nodes.
"""

import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from executor.inference.attention_kernels import AttentionKernels, spare_cudnn
from executor.inference.casting import cast_leaves, plain_leaves
from executor.inference.cuda_graphs import recorder_on
from executor.inference.devices import CPU, Placement, Role, Ways, choose_device, free_bytes, place, streamed
from executor.inference.eight_bits import casting_leaves, eight_bit_leaves, multiplies
from executor.inference.layout import (
    can_be_cellwise,
    cellwise,
    cellwise_leaves,
    join_projections,
    part_projections,
    rowwise_leaves,
)
from executor.inference.packing import BY_CELLS, pack_leaves, unpack_leaves
from executor.inference.patching import PatchSet
from executor.inference.recordings import Recordings
from executor.inference.region_process import RegionProcess
from executor.inference.regions import Regions
from executor.inference.scaled_weights import MeantWeights, set_scales
from executor.inference.streaming import Stream, carrier_to
from executor.settings import VramMode

logger = logging.getLogger("weft.inference")
Module = TypeVar("Module", bound=nn.Module, covariant=True)
MARGIN_BYTES = 256 << 20  # left free beside weights and working memory


class Part(Generic[Module]):
    """One module of a model file with its pristine weights by module key."""

    def __init__(
        self,
        name: str,
        role: Role,
        module: Module,
        weights: Mapping[str, Tensor],
        keys: Mapping[str, str],
        scales: Mapping[str, float] | None = None,
    ) -> None:
        """`keys` maps the file's names to the module's: LoRAs, merging and saving look weights up by them.

        `scales` are what weights of 8 bits are to be multiplied with (scaled_weights.py).
        """
        self.name, self.role, self.module, self.keys = name, role, module, keys
        self.hold(weights, scales or {})
        self.placement: Placement | None = None
        self.patches = PatchSet()  # what its module's weights are changed by at present
        self.let_go: Callable[[], None] | None = None  # frees weights that are kept beside those in the module
        self.stream: Stream | None = None  # while its weights travel layer by layer
        self.recordings: Recordings | None = None  # calls of its module that are played back
        self.changes = 0  # of its weights so far
        self.generation = 0  # of the compiled regions that its recordings were made with
        self.multiplies_eight_bits = False  # whether products may be of 8-bit numbers where the device has them
        self.is_arranged = self.is_cellwise = False  # whether its weights are laid out for a GPU, and its maps too
        self.packed: Set[str] = frozenset()  # weights that layers lay out themselves, from the file's

    def hold(self, stored: Mapping[str, Tensor], scales: Mapping[str, float]) -> None:
        """Take these as the pristine weights."""
        self.stored, self.scales = stored, scales
        self.weights: Mapping[str, Tensor] = MeantWeights(stored, scales) if scales else stored
        self.file_dtype = most_common_dtype(stored)
        set_scales(self.module, scales)

    @property
    def device(self) -> torch.device:
        """Where the module computes."""
        return self.placement.compute_device if self.placement else CPU

    @property
    def dtype(self) -> torch.dtype:
        """The type the module computes in."""
        return self.placement.compute_dtype if self.placement else self.file_dtype

    def nbytes(self, dtype: torch.dtype | None = None) -> int:
        """Bytes of all weights in a type; None: as in the file."""
        return sum(w.numel() * (dtype or w.dtype).itemsize for w in self.stored.values())

    def resident_bytes(self) -> int:
        """Bytes that the placed copies take; mapped weights count nothing."""
        if self.placement is None or (self.placement.device == CPU and self.placement.dtype is None):
            return 0
        return self.nbytes(self.placement.dtype)

    def round_weights(self, dtype: torch.dtype) -> None:
        """Keep the weights in another type from now on, as if the file had it."""
        self.release()
        kept = {key: scale for key, scale in self.scales.items() if self.stored[key].dtype == dtype}
        rounded = {
            key: self.weights[key].to(dtype)
            for key, stored in self.stored.items()
            if stored.is_floating_point() and key not in kept
        }
        self.hold({**self.stored, **rounded}, kept)
        self.file_dtype = dtype
        self.release()

    def resting(self, key: str) -> Tensor:
        """What the module holds of an unchanged weight: as placed, as in the file where a layer lays it out itself."""
        return self.weights[key] if key in self.packed else self.placed(key)

    def placed(self, key: str) -> Tensor:
        """A pristine weight on the device and in the type of its placement; as stored where that is the file's type."""
        as_stored = self.placement is None or self.placement.dtype is None
        return self.put_there(self.stored[key] if as_stored else self.weights[key], key)

    def put_there(self, weight: Tensor, key: str) -> Tensor:
        """A weight on the device and in the type of the placement."""
        if self.placement is None:
            return weight
        placed = weight.to(device=self.placement.device, dtype=self.placement.dtype or weight.dtype)
        return cellwise(placed) if self.is_cellwise and key not in self.packed else placed

    def put(self, placement: Placement, *, arranges: bool = True, channels_last: bool = False) -> None:
        """Fill the module with its pristine weights as placed; `arranges`: laid out as a GPU likes them.

        `channels_last`: the channels of a cell side by side, on any device and in any type.
        """
        self._unpack()
        (cast_leaves if placement.casts else plain_leaves)(self.module)
        if self.multiplies_eight_bits and multiplies(placement.compute_device):
            eight_bit_leaves(self.module)
        self.is_arranged = arranges and placement.arranges
        wanted = self.is_arranged or (channels_last and not placement.casts)  # cast weights would be laid out each call
        self.is_cellwise = wanted and can_be_cellwise(self.module)
        if self.is_cellwise and (self.is_arranged or placement.compute_device != CPU):
            cellwise_leaves(self.module)  # the CPU's own norms leave maps as they lie
        setattr(self.module, BY_CELLS, self.is_cellwise and channels_last)
        self.packed = pack_leaves(self.module) if placement.packs else frozenset()
        self.placement = placement
        self._end_stream()
        self._void_recordings()
        set_weights(self.module, ((key, self.resting(key)) for key in self.stored))
        self.patches = PatchSet()
        if self.is_arranged:
            join_projections(self.module)
        carrier = carrier_to(placement.compute_device) if placement == streamed(placement) else None
        if carrier is not None:
            self.stream = Stream(self.module, carrier)

    def patch(self, patches: PatchSet, made: Mapping[str, Tensor] | None = None) -> None:
        """Let the module's weights be changed by these patches and no others.

        `made` are weights under them that were made before. An error on the way leaves the module as it is and known
        to be in between: whatever is asked for next is made whole.
        """
        if patches.id == self.patches.id:
            return
        concerned = {**self.patches.by_key, **patches.by_key}
        self.patches = PatchSet(by_key=concerned)
        if self.stream is not None:
            self.stream.recall()
        if concerned:
            self._void_recordings()
            remade = ((key, made[key] if made and key in made else self.changed(key, patches)) for key in concerned)
            set_weights(self.module, remade)
        if self.is_arranged and concerned and not made:  # hooks come and go too often for it
            join_projections(self.module)
        self.patches = patches

    def changed(self, key: str, patches: PatchSet) -> Tensor:
        """A weight as placed, under patches, made from the pristine one."""
        if key not in patches.by_key:
            return self.resting(key)
        return patches.applied(key, self.put_there(self.weights[key], key) if key in self.scales else self.placed(key))

    def release(self) -> None:
        """Put the mapped weights back; copies are freed."""
        self._end_stream()
        self._void_recordings()
        self._unpack()
        set_weights(self.module, self.stored.items())
        self.placement = None
        self.patches = PatchSet()

    def recorded_bytes(self) -> int:
        """Bytes that recordings of its calls keep from everybody else."""
        return 0 if self.recordings is None else self.recordings.held_bytes()

    def _void_recordings(self) -> None:
        """Recordings hold the places of weights."""
        self.changes += 1
        if self.recordings is not None:
            self.recordings.clear()

    def _unpack(self) -> None:
        unpack_leaves(self.module)
        self.packed = frozenset()
        casting_leaves(self.module)
        rowwise_leaves(self.module)
        part_projections(self.module)
        self.is_arranged = self.is_cellwise = False
        setattr(self.module, BY_CELLS, False)

    def _end_stream(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for last: a module's bytes of weights, and those of its work."""

    name: str
    weights: int
    working: int


class Memory:
    """The weights of one device."""

    def __init__(
        self,
        device: torch.device | None = None,
        mode: VramMode = "auto",
        reserve_bytes: int = 0,
        ways: Ways | None = None,
    ) -> None:
        self.mode = mode
        self.device = choose_device(mode) if device is None else device
        self.reserve_bytes = reserve_bytes
        self.loads = self.evictions = 0  # how often a module was placed, and had to make room
        self._used: list[weakref.ref[Part[nn.Module]]] = []  # longest unused first
        self._kept: list[Part[nn.Module]] = []  # stay whatever else is loaded
        self.asked: Request | None = None
        self.is_tight = False  # memory ran out: no weights are copied
        self.ways = ways or Ways()
        self._kernels: AttentionKernels | None = None
        self._regions: Regions | None = None
        if self.device.type == "cuda":
            spare_cudnn()

    def load(
        self,
        part: Part[nn.Module],
        working_bytes: int = 0,
        patches: PatchSet | None = None,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        """Make a module ready to compute, with `working_bytes` free beside it for its activations.

        Its weights are pristine but for `patches`; it computes in `compute_dtype`, where one is given.
        """
        placement = place(part.role, self.device, self.mode, part.file_dtype, self.ways)
        if compute_dtype is not None:
            stored = None if placement.dtype is None else compute_dtype
            placement = replace(placement, dtype=stored, compute_dtype=compute_dtype)
        from_file = streamed(placement)
        if self.is_tight:
            placement = from_file
        need = 0 if placement == from_file else part.nbytes(placement.dtype)
        self.asked = Request(name=part.name, weights=need, working=working_bytes)
        working_bytes = max(0, working_bytes - part.recorded_bytes())  # recordings work in memory of their own
        if part.placement == placement:
            self.evict(working_bytes, spare=part)
        elif part.placement != from_file or self.free() >= need + working_bytes:
            fits = self.evict(need + working_bytes, spare=part)
            if need and not fits and self.mode not in ("high", "gpu-only"):
                logger.info("%s does not fit into memory: its weights are used from the file", part.name)
                placement = from_file
            self._put(part, placement)
        if self.ways.records and part.role == "diffusion" and part.recordings is None:
            recorder = recorder_on(placement.compute_device)
            part.recordings = None if recorder is None else Recordings(recorder)
        self._touch(part)  # before its patches: what they leave behind when memory runs out is known and freed
        part.patch(patches or PatchSet())

    def _put(self, part: Part[nn.Module], placement: Placement) -> None:
        """Place a module; one whose copies do not fit after all keeps none of them."""
        try:
            part.put(placement, arranges=self.ways.arranges, channels_last=self.ways.channels_last)
        except Exception:
            part.release()
            raise
        self.loads += 1

    @contextmanager
    def tight(self) -> Iterator[None]:
        """Let no module's weights be copied: each is used from its file, layer by layer."""
        self.is_tight = True
        try:
            yield
        finally:
            self.is_tight = False

    @contextmanager
    def keeping(self, parts: Sequence[Part[nn.Module]]) -> Iterator[None]:
        """Let these modules stay, whatever is loaded meanwhile."""
        before = self._kept
        self._kept = [*before, *parts]
        try:
            yield
        finally:
            self._kept = before

    def evict(self, nbytes: int, spare: Part[nn.Module] | None = None) -> bool:
        """Release the longest unused modules until `nbytes` are free; tells whether they are.

        What is kept beside modules in use, such as weights under hooks, goes last.
        """
        self._drop_recordings(nbytes, [spare, *self._kept])
        for part in list(self.resident()):
            if self.free() >= nbytes:
                break
            if part is not spare and part not in self._kept and part.resident_bytes():
                logger.info("%s makes room", part.name)
                part.release()
                self.evictions += 1
                self._forget(part)
                self._give_back()
        for part in list(self.resident()):
            if self.free() < nbytes and part.let_go is not None:
                part.let_go()
                self._give_back()
        self._drop_recordings(nbytes, [])
        return self.free() >= nbytes

    def _drop_recordings(self, nbytes: int, spared: Sequence[Part[nn.Module] | None]) -> None:
        """Forget recorded calls until so much is free: they are made anew sooner than weights are brought back."""
        for part in self.resident():
            held = part.recordings
            if held is not None and len(held) and part not in spared and nbytes > 0 and self.free() < nbytes:
                held.clear()

    def kernels(self) -> AttentionKernels | None:
        """Which attention kernels its device is fastest with; None where there is no choice."""
        if self._kernels is None and self.device.type == "cuda" and self.ways.measures:
            self._kernels = AttentionKernels(device=self.device, file=self.ways.choices_file)
        return self._kernels

    def regions(self) -> Regions | None:
        """The compiled layers of its networks; None where nothing is compiled."""
        if self._regions is None and self.ways.compiled_in is not None:
            self._regions = Regions(RegionProcess(self.ways.compiled_in))
        return self._regions

    def free(self) -> int:
        """Bytes of the device that may be taken."""
        recorded = sum(part.recorded_bytes() for part in self.resident())
        return free_bytes(self.device) - self.reserve_bytes - MARGIN_BYTES - recorded

    def unload_all(self) -> None:
        """Release every module."""
        for part in list(self.resident()):
            part.release()
        self._used.clear()
        self._give_back()

    def resident(self) -> Iterator[Part[nn.Module]]:
        """Modules that are placed, longest unused first."""
        for ref in list(self._used):
            part = ref()
            if part is not None:
                yield part

    def _give_back(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _touch(self, part: Part[nn.Module]) -> None:
        self._forget(part)
        self._used.append(weakref.ref(part))

    def _forget(self, part: Part[nn.Module]) -> None:
        self._used = [ref for ref in self._used if ref() not in (None, part)]


def most_common_dtype(weights: Mapping[str, Tensor]) -> torch.dtype:
    """The type that holds most numbers."""
    counts: dict[torch.dtype, int] = {}
    for weight in weights.values():
        counts[weight.dtype] = counts.get(weight.dtype, 0) + weight.numel()
    return max(counts, key=counts.__getitem__, default=torch.float32)


def get_weight(module: nn.Module, key: str) -> Tensor:
    """The tensor in a module's parameter or buffer of a dotted name."""
    path, _, name = key.rpartition(".")
    owner = module.get_submodule(path)
    found = owner._buffers[name] if name in owner._buffers else owner._parameters[name]
    assert found is not None  # weights have tensors
    return found.data


def set_weights(module: nn.Module, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Put tensors into a module's parameters and buffers by their dotted names, as new objects."""
    owners = dict(module.named_modules())
    for key, weight in weights:
        path, _, name = key.rpartition(".")
        owner = owners[path] if path in owners else module.get_submodule(path)  # one that stands in two places
        if name in owner._buffers:
            owner._buffers[name] = weight
        else:
            owner._parameters[name] = nn.Parameter(weight, requires_grad=False)
