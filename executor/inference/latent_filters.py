"""Operations on latents [B, C, H, W] as if their cells were colours: a length, which is how bright, and a direction.

Forms and numbers are bound by the recordings in reference/numeric (ops_latent, cases LatentApplyOperation): each was
found by fitting to them, see the functions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from executor.inference.filters import gaussian, sharpened

TINY = 1e-10
VIDEO = 5  # dimensions of latents of videos
WHITE_DEVIATIONS = 5.0  # above the mean length lies the length that is white


def tone_mapped(latent: Tensor, multiplier: float) -> Tensor:
    """Latents whose long cells are shortened: L / (1 + L) of the white length (Reinhard et al. 2002, eq. 3).

    Recorded: 1 / length' - 1 / length is one number for each picture, to 1e-7; it is 1 / white, and white is
    `multiplier` times the mean length and five deviations (5.000 in both pictures).
    """
    length = _length(latent)
    cells = length.flatten(1)
    mean, deviation = cells.mean(dim=1), cells.std(dim=1)
    white = ((mean + WHITE_DEVIATIONS * deviation) * multiplier).reshape(-1, *([1] * (latent.ndim - 1)))
    return latent * (white / (white + length))


def with_sharp_directions(latent: Tensor, radius: int, sigma: float, alpha: float) -> Tensor:
    """Latents with unsharp masking of the cells' directions; lengths are put back after it.

    Recorded: the change of latent / length is 10 alpha times its distance to its blur, to 7e-6.
    """
    if latent.ndim == VIDEO:  # each frame for itself
        frames = latent.transpose(1, 2)
        sharp = with_sharp_directions(frames.flatten(0, 1), radius, sigma, alpha)
        return sharp.reshape(frames.shape).transpose(1, 2)
    length = _length(latent)
    return sharpened(latent / length, gaussian(radius, sigma), alpha) * length


def _length(latent: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(latent, dim=1, keepdim=True)
    return length.clamp(min=TINY)
