"""Group norms on a GPU of maps whose channels lie side by side, by two kernels of Triton.

One adds up each group by parts, the other norms by the sums: those of the distances to the group's first number, since
squares of numbers far from 0 leave no digits for their variance. The operations of PyTorch that leave maps so are some
13 kernels, most of them of a few numbers. Triton comes with PyTorch's builds for CUDA; it wants a C compiler when a
kernel is first called. Knows no network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

import torch
from torch import Tensor

from executor.inference.devices import is_out_of_memory
from executor.inference.weights import first_line

logger = logging.getLogger("weft.inference")

TILE = 2048  # numbers that a program holds at once
PROGRAMS = 1024  # of a kernel, or fewer where there is not so much to do: several for each multiprocessor
MOST_PARTS = 64  # of a group's sums
LEAST_CAPABLE = (7, 5)  # of GPUs that Triton compiles for
TYPES = (torch.float16, torch.bfloat16)
FARTHEST = 0.02  # from PyTorch's answer, of its largest value: the rounding of bfloat16, and no other result

Norm: TypeAlias = Callable[[Tensor, Tensor, Tensor, int, float], Tensor]
"""What norms cells [B, N, C] in so many groups by weight and bias [C], with a number that is added to the variance."""


@dataclass(slots=True, eq=False)
class CellNorms:
    """The kernels of this process, and what was found out about them."""

    is_given_up: bool = False
    tried: set[Hashable] = field(default_factory=set)  # kinds of maps for which they answer as PyTorch does

    def normed(self, cells: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, usual: Norm) -> Tensor:
        """Cells [B, N, C] with each group at mean 0 and variance 1, scaled and shifted; by `usual` where kernels fail.

        The first answer for a number of channels is compared with that of PyTorch's own norm.
        """
        given = cells, weight, bias, groups, eps
        if self.is_given_up or not takes(cells, weight, bias):
            return usual(*given)
        kind = (cells.shape[2], cells.dtype, groups, cells.device)
        try:
            found = by_kernels(*given)
            if kind in self.tried:
                return found
            wanted = by_pytorch(*given)
            difference = (found.float() - wanted.float()).abs().amax()
            if not bool(difference <= FARTHEST * wanted.float().abs().amax()):
                raise RuntimeError(f"it answers otherwise for {kind}")
        except Exception as failure:
            if is_out_of_memory(failure):
                raise
            self.is_given_up = True
            logger.warning("the kernel for group norms cannot be used, PyTorch's own are: %s", first_line(failure))
            return usual(*given)
        self.tried.add(kind)
        return found


@cache
def cell_norms() -> CellNorms:
    """Those of this process."""
    return CellNorms()


def takes(cells: Tensor, weight: Tensor, bias: Tensor) -> bool:
    """Whether the kernels may be asked: real tensors on a GPU, dense, in 16 bits; not what a tracer looks on with."""
    if type(cells) is not Tensor or cells.device.type != "cuda" or torch.compiler.is_compiling():
        return False
    if cells.dtype not in TYPES or not cells.is_contiguous() or not cells.numel():
        return False
    return weight.dtype == bias.dtype == cells.dtype and torch.cuda.get_device_capability(cells.device) >= LEAST_CAPABLE


def by_pytorch(cells: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
    """`CellNorms.normed` by PyTorch's own norm, which lays cells out anew."""
    return torch.group_norm(cells.transpose(1, 2), groups, weight, bias, eps).transpose(1, 2)


def by_kernels(cells: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
    """`CellNorms.normed` by the kernels; raises whatever Triton and its compilers raise."""
    batch, count, channels = cells.shape
    width = channels // groups
    across = 1 << (width - 1).bit_length()
    down = max(1, TILE // across)
    parts = max(1, min(MOST_PARTS, -(-count // down), PROGRAMS // (batch * groups)))
    rows = -(-count // parts)  # of each part
    sums = torch.empty((batch * groups, MOST_PARTS, 2), dtype=torch.float32, device=cells.device)
    normed = torch.empty_like(cells)
    adds, scales = kernels()
    grid, sizes = (batch * groups, parts), {"width": width, "across": across, "down": down, "most": MOST_PARTS}
    adds[grid](cells, sums, count, rows, channels, groups, **sizes)
    scales[grid](cells, normed, sums, weight, bias, count, rows, channels, groups, parts, eps, **sizes)
    return normed


@cache
def kernels() -> tuple[Any, Any]:
    """What adds up the parts of each group, and what scales by the sums; ImportError without Triton.

    Made within a function, since Triton is not on every machine; their arguments without types, which it would read.
    """
    triton: Any = import_module("triton")
    tl: Any = import_module("triton.language")
    # One code for all sizes of pictures: else Triton makes another one where a number is 1, or a multiple of 16.
    made = triton.jit(do_not_specialize=["count", "rows", "parts"])

    @made  # type: ignore[untyped-decorator]
    def added(  # type: ignore[no-untyped-def]
        x, sums, count, rows, channels, groups,
        width: tl.constexpr, across: tl.constexpr, down: tl.constexpr, most: tl.constexpr,
    ) -> None:  # fmt: skip
        """Sum and sum of squares of the distances of a group's numbers, in the rows of one part, to its first one."""
        place, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
        start = (place // groups) * count * channels + (place % groups) * width
        column = tl.arange(0, across)
        origin = tl.load(x + start).to(tl.float32)
        end = tl.minimum(part * rows + rows, count)
        total = tl.zeros((down, across), tl.float32)
        squares = tl.zeros((down, across), tl.float32)
        for first in range(part * rows, end, down):
            row = first + tl.arange(0, down)
            inside = (row < end)[:, None] & (column < width)[None, :]
            at = start + row.to(tl.int64)[:, None] * channels + column[None, :]
            apart = tl.where(inside, tl.load(x + at, mask=inside, other=0.0).to(tl.float32) - origin, 0.0)
            total += apart
            squares += apart * apart
        to = sums + (place * most + part) * 2
        tl.store(to, tl.sum(tl.sum(total, axis=1), axis=0))
        tl.store(to + 1, tl.sum(tl.sum(squares, axis=1), axis=0))

    @made  # type: ignore[untyped-decorator]
    def scaled(  # type: ignore[no-untyped-def]
        x, normed, sums, weight, bias,
        count, rows, channels, groups, parts, eps,
        width: tl.constexpr, across: tl.constexpr, down: tl.constexpr, most: tl.constexpr,
    ) -> None:  # fmt: skip
        """The rows of one part of a group, normed by the sums of all parts."""
        place, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
        group = place % groups
        start = (place // groups) * count * channels + group * width
        column, each = tl.arange(0, across), tl.arange(0, most)
        known = sums + (place * most + each) * 2
        size = count * (width * 1.0)
        apart = tl.sum(tl.load(known, mask=each < parts, other=0.0), axis=0) / size
        square = tl.sum(tl.load(known + 1, mask=each < parts, other=0.0), axis=0) / size
        deviation = tl.sqrt(tl.maximum(square - apart * apart, 0.0) + eps)
        mean = tl.load(x + start).to(tl.float32) + apart
        scale = tl.load(weight + group * width + column, mask=column < width, other=0.0).to(tl.float32) / deviation
        shift = tl.load(bias + group * width + column, mask=column < width, other=0.0).to(tl.float32) - mean * scale
        end = tl.minimum(part * rows + rows, count)
        for first in range(part * rows, end, down):
            row = first + tl.arange(0, down)
            inside = (row < end)[:, None] & (column < width)[None, :]
            at = start + row.to(tl.int64)[:, None] * channels + column[None, :]
            value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
            tl.store(normed + at, (value * scale[None, :] + shift[None, :]).to(normed.dtype.element_ty), mask=inside)

    return added, scaled
