"""Which of PyTorch's attention kernels a GPU is fastest with, measured once per shape and kept from run to run.

What is kept makes a picture the same tomorrow: another kernel rounds otherwise. Knows no network.

cuDNN's kernel is asked once for a shape and never again where it refused: PyTorch (2.11 and 2.13) then keeps an
empty plan for that shape, and the next call ends the process by a segmentation fault.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from executor.inference.devices import is_out_of_memory
from executor.inference.weights import first_line
from executor.wholefile import write_whole

logger = logging.getLogger("weft.inference")

CUDNN = "CUDNN_ATTENTION"
CANDIDATES = ("FLASH_ATTENTION", CUDNN, "EFFICIENT_ATTENTION")
ARITHMETIC = "MATH"  # products and a softmax, of whatever size
WORTH = 0.95  # of the usual kernel's time: what gains less is noise
TURNS = 5  # of which the median counts
FARTHEST = 0.02  # from the usual kernel's answer, of its largest value: half precision's rounding, no other result

Timer: TypeAlias = Callable[[Callable[[], Tensor], torch.device], float]


@dataclass(slots=True, kw_only=True, eq=False)
class AttentionKernels:
    """The choices of one device; `file` keeps them."""

    device: torch.device
    file: Path | None = None
    timer: Timer | None = None  # None: by the device's own clock
    choices: dict[str, str] = field(default_factory=dict)  # shape → a kernel's name, "" for the usual one
    passing: set[str] = field(default_factory=set)  # shapes whose choice holds for this process: memory was short
    is_read: bool = False

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of q, k and v [B, heads, N, C] by the kernel that was chosen for their shape."""
        name = self.chosen(q, k, v)
        try:
            with forced(name):
                return functional.scaled_dot_product_attention(q, k, v)
        except RuntimeError as failure:
            if not name or is_out_of_memory(failure) or is_recording(q):
                raise
            key = key_of(q, k, v)
            logger.warning("attention kernel %s refuses %s, which it took before: %s", name, key, first_line(failure))
        self.choices[key] = ""  # for rows at other distances too, which have the same key
        refusals().add((name, key))
        return functional.scaled_dot_product_attention(q, k, v)

    def chosen(self, q: Tensor, k: Tensor, v: Tensor) -> str:
        """The name of the kernel for a shape, measured where it is not known; "" for the usual one."""
        if q.device.type != self.device.type or torch.compiler.is_compiling():
            return ""
        key = key_of(q, k, v)
        if key not in self.choices:
            self._read()
        if key not in self.choices:
            if is_recording(q):  # nothing can be measured now
                return ""
            self.choices[key] = self._measured(q, k, v)
            self._write()
        return self.choices[key]

    def _measured(self, q: Tensor, k: Tensor, v: Tensor) -> str:
        """The fastest kernel that answers as the usual one does."""
        timer, best = self.timer or timed, usual_for(q, k, v)
        with forced(best):
            usual = functional.scaled_dot_product_attention(q, k, v)
            least_s = WORTH * timer(lambda: functional.scaled_dot_product_attention(q, k, v), q.device)
        bound = FARTHEST * float(usual.abs().max())
        for name in CANDIDATES:
            answer, lacks_memory = answer_by(name, q, k, v)
            if lacks_memory:
                self.passing.add(key_of(q, k, v))
            if answer is None:
                continue
            if not float((answer - usual).abs().max()) <= bound:
                logger.warning("attention kernel %s answers otherwise for %s: it is not used", name, key_of(q, k, v))
                continue
            with forced(name):
                seconds = timer(lambda: functional.scaled_dot_product_attention(q, k, v), q.device)
            if seconds < least_s:
                best, least_s = name, seconds
        return best

    # ---------------------------------------------------------------- kept from run to run

    def _read(self) -> None:
        if self.is_read or self.file is None:
            return
        self.is_read = True
        with suppress(OSError, ValueError):
            kept = kept_in(self.file).get(self._where()) or {}
            known = ("", ARITHMETIC, *CANDIDATES)
            self.choices |= {key: name for key, name in kept.items() if name in known}

    def _write(self) -> None:
        if self.file is None:
            return
        everything: dict[str, object] = {}
        with suppress(OSError, ValueError):
            everything = dict(kept_in(self.file))
        everything[self._where()] = {key: name for key, name in self.choices.items() if key not in self.passing}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.file, lambda file: file.write(json.dumps(everything, indent=1).encode()))
        except OSError as error:
            logger.warning("the choice of attention kernels cannot be kept: %s", error)

    def _where(self) -> str:
        """What a choice holds for: a device's kind and PyTorch's version."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return f"{name}, torch {torch.__version__}"


_kernels: ContextVar[AttentionKernels | None] = ContextVar("weft_attention_kernels", default=None)


@contextmanager
def by_kernels(kernels: AttentionKernels | None) -> Iterator[None]:
    """Let attention choose among these kernels within a with block; None: as usual."""
    token = _kernels.set(kernels)
    try:
        yield
    finally:
        _kernels.reset(token)


def attend_fast(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of q, k and v [B, heads, N, C] by the kernels in force."""
    kernels = _kernels.get() if q.device.type != "cpu" else None
    return functional.scaled_dot_product_attention(q, k, v) if kernels is None else kernels.attend(q, k, v)


def forced(name: str) -> AbstractContextManager[None]:
    """Lets PyTorch take this kernel within a with block; "" leaves the choice to it."""
    return sdpa_kernel(kernel(name)) if name else nullcontext()


def answer_by(name: str, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor | None, bool]:
    """What a kernel answers; None where it does not take these, which is remembered. And whether it lacked memory."""
    refused, asked = refusals(), (name, key_of(q, k, v))
    if asked in refused:
        return None, False
    try:
        # A kernel that does not take these says why in warnings, and that in an error.
        with warnings.catch_warnings(action="ignore"), forced(name):
            return functional.scaled_dot_product_attention(q, k, v), False
    except RuntimeError as failure:
        refused.add(asked)  # for want of memory too: cuDNN's may have left an empty plan
        return None, is_out_of_memory(failure)


@cache
def refusals() -> set[tuple[str, str]]:
    """Kernels and keys of what they did not take in this process."""
    return set()


def spare_cudnn() -> None:
    """Let PyTorch's own choice of attention in this process be none of cuDNN's, which it prefers on Hopper.

    Whoever asks for cuDNN's by name still gets it.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def usual_for(q: Tensor, k: Tensor, v: Tensor) -> str:
    """What the others are compared with: PyTorch's own choice, ""; plain arithmetic where that fails."""
    try:
        functional.scaled_dot_product_attention(q, k, v)
    except RuntimeError as failure:
        if is_out_of_memory(failure):
            raise
        logger.warning("PyTorch's own attention kernel fails for %s: %s", key_of(q, k, v), first_line(failure))
        return ARITHMETIC
    return ""


def kept_in(file: Path) -> dict[str, dict[str, str]]:
    """The choices of a file by device; OSError or ValueError where there are none."""
    found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or not all(isinstance(held, dict) for held in found.values()):
        raise ValueError("not a table of choices")
    return found


def kernel(name: str) -> SDPBackend:
    """PyTorch's own name of a kernel."""
    found: SDPBackend = getattr(SDPBackend, name)
    return found


def key_of(q: Tensor, k: Tensor, v: Tensor) -> str:
    """What a choice is for: sizes, type, and whether the rows lie apart."""
    batch, heads, rows, width = q.shape
    dense = "" if all(part.stride(-2) == width for part in (q, k, v)) else " apart"
    return f"{str(q.dtype).removeprefix('torch.')} {batch}x{heads}x{rows}x{width} to {k.shape[2]}{dense}"


def is_recording(q: Tensor) -> bool:
    """Whether a CUDA graph is being recorded."""
    return q.device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def timed(run: Callable[[], Tensor], device: torch.device) -> float:
    """The median of some turns' seconds, by the device's clock; waits for the device."""
    run()
    taken: list[float] = []
    for _ in range(TURNS):
        start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        start.record(torch.cuda.current_stream(device))
        run()
        end.record(torch.cuda.current_stream(device))
        end.synchronize()
        taken.append(start.elapsed_time(end) / 1e3)
    return sorted(taken)[TURNS // 2]
