"""A smaller picture for the inner blocks while its layout is drawn (kohya's Deep Shrink). Knows no sampler.

A model draws twice what it was trained on at once where it sees too little; features shrunk in the first part of the
sampling let it see the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from executor.inference.crossing import number_of
from executor.inference.hooks import Options
from executor.inference.pixels import common_upscale


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepShrink:
    """Features made smaller behind one input block, and larger again where they meet a skip connection."""

    block: int  # number of the input block
    factor: float
    first_sigma: float  # acts from this noise level
    last_sigma: float  # down to this one
    shrink: str  # names of resizing methods
    grow: str

    def shrunk(self, x: Tensor, options: Options) -> Tensor:
        """What an input block gives, [B, C, h, w]."""
        _, number = cast("tuple[str, int]", options["block"])
        sigma = number_of(cast(Tensor, options["sigmas"]))
        if number != self.block or not self.last_sigma <= sigma <= self.first_sigma:
            return x
        height, width = (max(1, round(side / self.factor)) for side in x.shape[-2:])
        return common_upscale(x, width, height, self.shrink, "disabled")

    def grown(self, x: Tensor, skip: Tensor, options: Options) -> tuple[Tensor, Tensor]:
        """What an output block is given: features of the size of the skip connection."""
        if x.shape[-2:] != skip.shape[-2:]:
            x = common_upscale(x, skip.shape[-1], skip.shape[-2], self.grow, "disabled")
        return x, skip
