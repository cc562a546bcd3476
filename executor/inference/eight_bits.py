"""Linear layers whose products are of 8-bit numbers, which matrix units from Ada and Hopper on do twice as fast.

What goes in is scaled so that its largest value fits float8_e4m3fn (Micikevicius et al. 2022, arXiv:2209.05433) and
rounded; weights are 8-bit numbers already. Sums are those of more bits. Knows no network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from executor.inference.casting import CastLinear, swap_leaves

EIGHT = torch.float8_e4m3fn
LARGEST = 448.0  # of float8_e4m3fn
WHOLE = 16  # columns that a matrix unit takes at once
CAPABLE = (8, 9)
LEAST_SCALE = 1 / 60000  # its inverse is a number of float16 too


class EightBitLinear(CastLinear):
    """A linear layer by 8-bit products where its weights and its input allow them; else as `CastLinear`."""

    def forward(self, input: Tensor) -> Tensor:
        """x W^T + b, in the type of x."""
        if not fits(input, self.weight):
            return super().forward(input)
        return scaled_linear(input, self.weight, self.bias, self.weight_scale or 1.0)


def fits(x: Tensor, weight: Tensor) -> bool:
    """Whether matrix units take these: 8-bit weights where x lies, whole columns, an answer in 16 bits."""
    if weight.dtype != EIGHT or weight.device != x.device or x.dtype not in (torch.float16, torch.bfloat16):
        return False
    return x.numel() > 0 and weight.shape[0] % WHOLE == weight.shape[1] % WHOLE == 0


def scaled_linear(x: Tensor, weight: Tensor, bias: Tensor | None, weight_scale: float = 1.0) -> Tensor:
    """x W^T + b of x [..., in] and 8-bit weights [out, in]; one scale for all of x, found on the device."""
    rows = x.reshape(-1, x.shape[-1])
    scale = (rows.abs().amax().float() / LARGEST).clamp(min=LEAST_SCALE)
    eight = (rows * scale.reciprocal().to(rows.dtype)).clamp(-LARGEST, LARGEST).to(EIGHT)
    its = torch.full_like(scale, weight_scale)
    added = None if bias is None else bias.to(x.dtype)
    product: Tensor = torch._scaled_mm(eight, weight.t(), scale_a=scale, scale_b=its, bias=added, out_dtype=x.dtype)
    return product.reshape(*x.shape[:-1], weight.shape[0])


def multiplies(device: torch.device) -> bool:
    """Whether a device's matrix units take 8-bit numbers."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= CAPABLE


def eight_bit_leaves(module: nn.Module) -> None:
    """Let linear layers that cast their weights multiply 8-bit numbers; `casting_leaves` undoes it."""
    swap_leaves(module, {CastLinear: EightBitLinear})


def casting_leaves(module: nn.Module) -> None:
    """Let them cast their weights again."""
    swap_leaves(module, {EightBitLinear: CastLinear})
