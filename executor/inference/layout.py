"""Weights as matrix units of a GPU like them: channels of a cell side by side, projections of one input joined.

Each change has its inverse; values stay what they are. Knows neither devices nor files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from executor.inference.casting import swap_leaves
from executor.inference.cell_norms import cell_norms
from executor.inference.unet_layers import CrossAttention, Joined

SPATIAL_DIMS = 4


class CellwiseGroupNorm(nn.GroupNorm):
    """A group norm that leaves the channels of a cell side by side; PyTorch's own on CUDA lays the maps out anew."""

    def forward(self, input: Tensor) -> Tensor:
        """Each group of channels at mean 0 and variance 1, then scaled and shifted: x [B, C, H, W]."""
        if not is_cellwise(input):
            return super().forward(input)
        cells = input.permute(0, 2, 3, 1)  # [B, H, W, C]
        rows = cells.flatten(1, 2)
        normed = cell_norms().normed(rows, self.weight, self.bias, self.num_groups, self.eps, by_operations)
        return normed.reshape(cells.shape).permute(0, 3, 1, 2)


def by_operations(cells: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
    """Cells [B, N, C] with each group of channels at mean 0 and variance 1, then scaled and shifted."""
    grouped = cells.reshape(*cells.shape[:2], groups, -1)  # [B, N, G, C / G]
    count = grouped.shape[1] * grouped.shape[3]
    # Both sums are taken in float32 of 16-bit values without a copy of them.
    mean = grouped.mean(dim=(1, 3), dtype=torch.float32)  # [B, G]
    length = torch.linalg.vector_norm(grouped, dim=(1, 3), dtype=torch.float32)
    variance = (length.square() / count - mean.square()).clamp(min=0.0)
    scale = (variance + eps).rsqrt()[..., None] * weight.float().reshape(groups, -1)  # [B, G, C / G]
    shift = bias.float().reshape(groups, -1) - mean[..., None] * scale
    normed = torch.empty_like(grouped)
    torch.addcmul(shift[:, None], grouped, scale[:, None], out=normed)  # rounded once, at its end
    return normed.flatten(2)


def is_cellwise(x: Tensor) -> bool:
    """Whether the channels of each cell of maps [B, C, H, W] lie side by side, and not those of each row."""
    if x.ndim != SPATIAL_DIMS or x.is_contiguous():
        return False
    return x.is_contiguous(memory_format=torch.channels_last)


def cellwise(weight: Tensor) -> Tensor:
    """A convolution's weight with the channels of each cell side by side; any other as it is."""
    return weight.contiguous(memory_format=torch.channels_last) if weight.ndim == SPATIAL_DIMS else weight


def can_be_cellwise(module: nn.Module) -> bool:
    """Whether all maps of a module are those of pictures: frames would be laid out there and back."""
    return not any(isinstance(leaf, nn.Conv3d) for leaf in module.modules())


def cellwise_leaves(module: nn.Module) -> None:
    """Let a module's norms leave maps as they lie; `rowwise_leaves` undoes it."""
    swap_leaves(module, {nn.GroupNorm: CellwiseGroupNorm})


def rowwise_leaves(module: nn.Module) -> None:
    """Let every norm be PyTorch's own."""
    swap_leaves(module, {CellwiseGroupNorm: nn.GroupNorm})


def join_projections(module: nn.Module) -> None:
    """Let attentions among equals project by one product instead of three; `part_projections` undoes it.

    The three weights become parts of the joined one. Weights that come in their place later are not seen by it, and
    the three products are made again.
    """
    for layer in module.modules():
        if isinstance(layer, CrossAttention) and not layer.is_joined() and can_join(layer):
            parts = (layer.to_q, layer.to_k, layer.to_v)
            whole = torch.cat([part.weight.data for part in parts])
            query, key, value = (nn.Parameter(weight, requires_grad=False) for weight in whole.chunk(3))
            layer.to_q.weight, layer.to_k.weight, layer.to_v.weight = query, key, value
            layer.joined = Joined(whole, (query, key, value))


def can_join(layer: CrossAttention) -> bool:
    """Whether an attention's three projections are of one size, plain and without what is added."""
    parts = (layer.to_q, layer.to_k, layer.to_v)
    if any(type(part) is not nn.Linear or part.bias is not None for part in parts):
        return False
    return len({(part.weight.shape, part.weight.dtype, part.weight.device) for part in parts}) == 1


def part_projections(module: nn.Module) -> None:
    """Let every attention project by three products."""
    for layer in module.modules():
        if isinstance(layer, CrossAttention):
            layer.joined = None
