"""Layers that bring their weights to the type and device of what they are given, at every call.

A module whose leaves are cast keeps its weights wherever they are (mapped from the file, in half precision, on the
CPU) and computes in the type and on the device of its input. Knows nothing of which modules want that.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

EIGHT_BITS = frozenset({torch.float8_e4m3fn, torch.float8_e5m2})
PIECE = 1 << 22
"""Numbers of a weight that the CPU casts at once: pieces stay in its cache and in memory that it has touched before."""


def like(weight: Tensor | None, x: Tensor) -> Tensor | None:
    """A weight on the device and in the type of x; itself when it is there already."""
    return None if weight is None else weight.to(device=x.device, dtype=x.dtype, non_blocking=True)


def meant(rows: Tensor, stored: Tensor, scale: float | None) -> Tensor:
    """Rows that were cast from a stored weight, multiplied in place with its scale if it has one.

    Weights under patches are of more than 8 bits and have their scale in them (scaled_weights.py).
    """
    return rows if scale is None or stored.dtype not in EIGHT_BITS else rows.mul_(scale)


class CastLinear(nn.Linear):
    """A linear layer in the type of its input."""

    weight_scale: float | None = None  # what a weight of 8 bits is multiplied with

    def forward(self, input: Tensor) -> Tensor:
        """x W^T + b."""
        if input.device.type == "cpu" and self.weight.dtype != input.dtype and self.weight.numel() > PIECE:
            return self._by_pieces(input)
        return self._product(input, self.weight, self.bias)

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(x, meant(weight.to(x), weight, self.weight_scale), like(bias, x))

    def _by_pieces(self, x: Tensor) -> Tensor:
        """The same, so many rows of the weight after each other."""
        rows = max(1, PIECE // self.weight.shape[1])
        pieces = self.weight.split(rows)  # type: ignore[no-untyped-call]
        biases = [None] * len(pieces) if self.bias is None else self.bias.split(rows)  # type: ignore[no-untyped-call]
        return torch.cat([self._product(x, *each) for each in zip(pieces, biases, strict=True)], dim=-1)


class CastConv2d(nn.Conv2d):
    """A convolution in the type of its input."""

    def forward(self, input: Tensor) -> Tensor:
        """x * W + b."""
        output: Tensor = self._conv_forward(input, self.weight.to(input), like(self.bias, input))
        return output


class CastConv3d(nn.Conv3d):
    """A convolution of videos in the type of its input."""

    def forward(self, input: Tensor) -> Tensor:
        """x * W + b."""
        output: Tensor = self._conv_forward(input, self.weight.to(input), like(self.bias, input))
        return output


class CastGroupNorm(nn.GroupNorm):
    """A group norm in the type of its input."""

    def forward(self, input: Tensor) -> Tensor:
        """Each group of channels at mean 0 and variance 1, then scaled and shifted."""
        return functional.group_norm(input, self.num_groups, like(self.weight, input), like(self.bias, input), self.eps)


class CastLayerNorm(nn.LayerNorm):
    """A layer norm in the type of its input."""

    def forward(self, input: Tensor) -> Tensor:
        """Each row at mean 0 and variance 1, then scaled and shifted."""
        return functional.layer_norm(
            input, self.normalized_shape, like(self.weight, input), like(self.bias, input), self.eps
        )


class CastRMSNorm(nn.RMSNorm):
    """A root mean square norm in the type of its input."""

    def forward(self, input: Tensor) -> Tensor:
        """Each row at root mean square 1, then scaled."""
        return functional.rms_norm(input, self.normalized_shape, like(self.weight, input), self.eps)


class CastEmbedding(nn.Embedding):
    """A table whose looked-up rows come in float32 on the device of the ids."""

    weight_scale: float | None = None  # what rows of 8 bits are multiplied with

    def forward(self, input: Tensor) -> Tensor:
        """Rows [..., C] of ids [...]."""
        rows = functional.embedding(input.to(self.weight.device), self.weight, self.padding_idx)
        return meant(rows.to(device=input.device, dtype=torch.float32), self.weight, self.weight_scale)


CASTS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: CastLinear,
    nn.Conv2d: CastConv2d,
    nn.Conv3d: CastConv3d,
    nn.GroupNorm: CastGroupNorm,
    nn.LayerNorm: CastLayerNorm,
    nn.RMSNorm: CastRMSNorm,
    nn.Embedding: CastEmbedding,
}
PLAIN: dict[type[nn.Module], type[nn.Module]] = {cast: plain for plain, cast in CASTS.items()}


def cast_leaves(module: nn.Module) -> None:
    """Let every leaf of a module cast its weights; `plain_leaves` undoes it."""
    swap_leaves(module, CASTS)


def plain_leaves(module: nn.Module) -> None:
    """Let every leaf use its weights as they are."""
    swap_leaves(module, PLAIN)


def swap_leaves(module: nn.Module, classes: dict[type[nn.Module], type[nn.Module]]) -> None:
    """Give the leaves of exactly these classes their counterparts; no weight is touched."""
    for leaf in module.modules():
        if type(leaf) in classes:
            leaf.__class__ = classes[type(leaf)]
