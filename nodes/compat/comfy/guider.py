"""The guider that packs subclass, which is Weft's own, and conditions made ready for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.conditions import Condition
from executor.inference.denoising import resolved
from executor.inference.guider import CFGGuider, as_conditioning

__all__ = ["CFGGuider", "process_conds"]


def process_conds(
    model: object, noise: Tensor, conds: Mapping[str, Sequence[object]], device: torch.device | None = None,
    latent_image: Tensor | None = None, denoise_mask: Tensor | None = None, seed: int | None = None,
    **options: object,
) -> dict[str, list[Condition]]:  # fmt: skip
    """Conditions that fit latents of the noise's shape."""
    handle = getattr(model, "current_patcher", None)
    if handle is None:
        raise NodeInputError("conditions are made ready for a MODEL that is loaded")
    return resolved(handle, noise.shape, {name: as_conditioning(cond) for name, cond in conds.items()})
