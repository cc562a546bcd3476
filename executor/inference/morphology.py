"""Growing and shrinking masks. Knows no nodes."""

import torch
from torch import Tensor
from torch.nn import functional


def dilate(mask: Tensor, steps: int, *, tapered: bool) -> Tensor:
    """Masks [B, H, W] after `steps` (negative: erosion) of taking the largest (smallest) value of the neighbours.

    Neighbours are the 8 around a pixel, or with `tapered` the 4 beside it, so that corners grow more slowly.
    """
    sign = 1.0 if steps >= 0 else -1.0
    planes = mask.unsqueeze(1) * sign
    for _ in range(abs(steps)):
        if tapered:
            across = functional.max_pool2d(planes, (1, 3), stride=1, padding=(0, 1))
            along = functional.max_pool2d(planes, (3, 1), stride=1, padding=(1, 0))
            planes = torch.maximum(across, along)
        else:
            planes = functional.max_pool2d(planes, 3, stride=1, padding=1)
    return planes.squeeze(1) * sign
