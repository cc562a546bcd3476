"""Convolutions on the CPU whose weights lie as its library computes with them. Knows no network.

A plain convolution lays its weights out anew at every call, which at small pictures takes longer than its arithmetic
(measured: 26 of 31 ms at 4x4 cells of 1280 channels). Here that is done once for a size of pictures, by the operations
that torch.compile uses for it (`torch.ops.mkldnn`, oneDNN). The answers are the same but for the order of sums.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

WHOLE = 16  # channels that a vector of the CPU holds
BY_CELLS = "by_cells"
"""The attribute of modules that are given channels side by side because somebody wants it so."""
LEAST_WEIGHTS = 1 << 16  # of a layer; fewer are laid out in no time


@dataclass(slots=True)
class Layout:
    """Weights as they were laid out, from what and for which input; and for which one they were asked for last."""

    weight: Tensor
    version: int | None
    shape: torch.Size
    dtype: torch.dtype
    packed: Tensor
    asked: torch.Size


class PackedConv2d(nn.Conv2d):
    """A convolution that keeps its weights laid out.

    Its parameter may stay in any type, mapped from the file: it is read when it is laid out, and again once another
    tensor stands in its place or it was written into. Not seen is what goes past torch's count of writes (`.data`).
    """

    layout: Layout | None = None

    def forward(self, input: Tensor) -> Tensor:
        """x * W + b for x [B, C, H, W]; as a plain convolution where gradients or a pack's own arithmetic are asked."""
        bias = None if self.bias is None else self.bias.to(input)
        if self._is_plain(input):
            plain: Tensor = self._conv_forward(input, self.weight.to(input), bias)
            return plain
        sizes = list(self.padding), list(self.stride), list(self.dilation)
        packed = self._packed(input)
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            input, packed, bias, *sizes, self.groups, "none", [], ""
        )
        return result

    def _is_plain(self, input: Tensor) -> bool:
        return (
            torch.compiler.is_compiling()
            or input.requires_grad
            or input.dtype not in packable_types()
            or input.device.type != "cpu"
            or self.padding_mode != "zeros"
            or "_conv_forward" in self.__dict__
        )

    def _packed(self, input: Tensor) -> Tensor:
        """The weights for an input; laid out anew for another size only when that comes twice in a row.

        Weights that were laid out for another size compute the same, more slowly.
        """
        layout, weight, shape = self.layout, self.weight, input.shape
        version = None if weight.is_inference() else weight._version  # of inference tensors writes are not counted
        made_of = None if layout is None else (layout.weight is weight, layout.version, layout.dtype)
        is_made_of_it = made_of == (True, version, input.dtype)
        if layout is not None and is_made_of_it and (layout.shape == shape or layout.asked != shape):
            layout.asked = shape
            return layout.packed
        self.layout = None  # freed before the next one is made
        sizes = list(self.padding), list(self.stride), list(self.dilation)
        packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
            weight.detach().to(input.dtype), *sizes, self.groups, list(shape)
        )
        self.layout = Layout(weight, version, shape, input.dtype, packed, shape)
        return packed


def can_pack() -> bool:
    """Whether this build of PyTorch has the operations."""
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_reorder_convolution_weight", "_convolution_pointwise")
    )


@cache
def packable_types() -> frozenset[torch.dtype]:
    """The types that this processor's convolutions compute in with weights laid out."""
    if not can_pack():
        return frozenset()
    halves = {torch.bfloat16} if torch.ops.mkldnn._is_mkldnn_bf16_supported() else set()
    return frozenset({torch.float32, *halves})


def pack_leaves(module: nn.Module) -> Set[str]:
    """Let the convolutions of a module keep their weights laid out; the names of those weights.

    `unpack_leaves` undoes it. Without a build that can, nothing changes and there are no names.
    """
    names = set()
    for name, leaf in module.named_modules() if can_pack() else ():
        if type(leaf) is nn.Conv2d and worth_packing(leaf):
            leaf.__class__ = PackedConv2d
            names.add(f"{name}.weight" if name else "weight")
    module.packed = bool(names)  # type: ignore[assignment]
    return names


def worth_packing(leaf: nn.Conv2d) -> bool:
    """Whether a convolution gains by it: one of many weights, of all channels, in whole vectors of them."""
    is_whole = leaf.in_channels % WHOLE == leaf.out_channels % WHOLE == 0
    return is_whole and leaf.groups == 1 and leaf.weight.numel() >= LEAST_WEIGHTS


def unpack_leaves(module: nn.Module) -> None:
    """Let every convolution be plain again; what was laid out is freed."""
    for leaf in module.modules():
        if isinstance(leaf, PackedConv2d):
            leaf.layout = None
            leaf.__class__ = nn.Conv2d  # type: ignore[assignment]
    module.packed = False  # type: ignore[assignment]


def is_packed(module: nn.Module) -> bool:
    """Whether a module's convolutions keep their weights laid out."""
    return bool(getattr(module, "packed", False))


def channels_last(x: Tensor, module: nn.Module) -> Tensor:
    """x [B, C, H, W] with the channels of a cell side by side where a module computes so; the values stay."""
    wanted = is_packed(module) or getattr(module, BY_CELLS, False)
    return x.contiguous(memory_format=torch.channels_last) if wanted else x
