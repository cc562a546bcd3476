"""Which device computes, how much memory it has, and in which number types it works. Holds no weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from executor.errors import NodeInputError, OutOfMemory
from executor.inference.casting import EIGHT_BITS
from executor.inference.packing import packable_types
from executor.main_memory import main_memory_free, main_memory_total
from executor.settings import Settings, VramMode

Role = Literal["diffusion", "text", "vae"]
CPU = torch.device("cpu")
SMALL_BYTES = 1 << 28  # of tensors that are made without asking how much memory is free
SIXTEEN_BITS = frozenset({torch.float16, torch.bfloat16})
STREAMING_MODES: frozenset[VramMode] = frozenset({"low", "none"})
WITHOUT_MEMORY = (
    "can't allocate memory",  # PyTorch on the CPU
    "CUDA error: out of memory",  # the driver: for a graph, a kernel's code, pinned memory
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",  # cuDNN from version 9 on, host and device
    "unable to find an engine to execute this computation",  # PyTorch: every algorithm of cuDNN wanted room to work in
    "Unable to find a valid cuDNN algorithm",  # the same by cuDNN's older interface
)
"""How errors without a class of their own tell that memory ran out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a device is used, where it can be."""

    records: bool = True  # whether calls of networks are recorded and played back
    arranges: bool = True  # whether weights are laid out as matrix units like them
    channels_last: bool = False  # whether the channels of a cell lie side by side on every device and in every type
    measures: bool = True  # whether attention's kernels are chosen by measurement
    choices_file: Path | None = None  # where such choices are kept
    compiled_in: Path | None = None  # where compiled layers are kept; None: nothing is compiled
    diffusion: torch.dtype | None = None  # the type that networks compute in; None: as suits device and file
    vae: torch.dtype | None = None  # the type that autoencoders compute in; None: as suits the device


def ways_of(settings: Settings) -> Ways:
    """How a device is used by what the user decided."""
    unet, vae = settings.unet_dtype, settings.vae_dtype
    return Ways(
        records=not settings.disable_cuda_graphs,
        arranges=not settings.disable_gpu_layout,
        channels_last=settings.force_channels_last,
        choices_file=settings.folder("user") / "attention_kernels.json",
        compiled_in=settings.folder("user") / "compiled" if settings.compile else None,
        diffusion=None if unet is None else getattr(torch, unet),
        vae=None if vae is None else getattr(torch, vae),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a module's weights lie and in which type, and where and in which type it computes."""

    device: torch.device
    dtype: torch.dtype | None  # None: as in the file
    compute_device: torch.device
    compute_dtype: torch.dtype

    @property
    def casts(self) -> bool:
        """Whether weights have to be moved or cast at every call."""
        return self.dtype != self.compute_dtype or self.device != self.compute_device

    @property
    def arranges(self) -> bool:
        """Whether weights may be laid out as matrix units like them: 16 bits, copied to a GPU."""
        return not self.casts and self.compute_device.type == "cuda" and self.compute_dtype in SIXTEEN_BITS

    @property
    def packs(self) -> bool:
        """Whether convolutions lay their weights out once: on the CPU, where copies may be held."""
        is_kept = self.compute_device.type == "cpu" and self.dtype == self.compute_dtype
        return is_kept and self.compute_dtype in packable_types()


def choose_device(mode: VramMode) -> torch.device:
    """The device that models compute on: the first visible CUDA device, or the CPU."""
    return torch.device("cuda", 0) if mode != "cpu" and torch.cuda.is_available() else CPU


def total_bytes(device: torch.device) -> int:
    """All memory of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return main_memory_total()


def free_bytes(device: torch.device) -> int:
    """Memory of a device that new tensors can take, PyTorch's own unused blocks included."""
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    return main_memory_free()


def refuse_unless_free(nbytes: int, what: str) -> None:
    """NodeInputError with the figures when the machine has not so many bytes left for `what`.

    Tensors of zeros are made without memory, which the system would look for when it is too late to say so.
    """
    free = free_bytes(CPU)
    if nbytes > free:
        raise NodeInputError(
            f"{what} takes at least {nbytes / 1e9:.1f} GB, but {free / 1e9:.1f} GB of memory are free: "
            "choose a smaller picture or batch"
        )


def refuse_unless_fits(shape: Sequence[int], what: str) -> None:
    """`refuse_unless_free` for float32 numbers of a shape; small ones are made without asking."""
    nbytes = math.prod(shape) * torch.float32.itemsize
    if nbytes > SMALL_BYTES:
        refuse_unless_free(nbytes, what)


def place(
    role: Role, device: torch.device, mode: VramMode, file_dtype: torch.dtype, ways: Ways | None = None
) -> Placement:
    """How a module of a role is kept.

    The CPU computes in float32; a GPU runs diffusion models in the file's half precision and autoencoders in bfloat16,
    where it has that. Text encoders keep the file's type and compute in float32 (as numeric/README.md,
    full_sd15_parts). Weights of 8 bits stay so. In the low-memory modes every weight stays as it is in the mapped file.
    """
    compute = computing_dtype(role, device, file_dtype, ways or Ways())
    if mode in STREAMING_MODES:
        return Placement(device=CPU, dtype=None, compute_device=device, compute_dtype=compute)
    dtype = None if role == "text" or file_dtype in EIGHT_BITS else compute
    return Placement(device=device, dtype=dtype, compute_device=device, compute_dtype=compute)


def computing_dtype(role: Role, device: torch.device, file_dtype: torch.dtype, ways: Ways) -> torch.dtype:
    """The type that a module of a role computes in."""
    if role == "diffusion" and ways.diffusion is not None:
        return ways.diffusion
    if role == "vae" and ways.vae is not None:
        return ways.vae
    if device.type != "cuda" or role == "text":
        return torch.float32
    if role == "vae":
        return torch.bfloat16 if has_bfloat16(device) else torch.float32
    return torch.bfloat16 if file_dtype == torch.bfloat16 and has_bfloat16(device) else torch.float16


def has_bfloat16(device: torch.device) -> bool:
    """Whether the matrix units of a CUDA device take bfloat16 (Ampere and later)."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def streamed(placement: Placement) -> Placement:
    """The same computation with the weights left in the mapped file: what is done when they do not fit."""
    return Placement(
        device=CPU,
        dtype=None,
        compute_device=placement.compute_device,
        compute_dtype=placement.compute_dtype,
    )


def is_out_of_memory(failure: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(failure, MemoryError | torch.OutOfMemoryError | OutOfMemory):
        return True
    return isinstance(failure, RuntimeError) and any(told in str(failure) for told in WITHOUT_MEMORY)
