"""What an autoencoder makes of medium grey: what inpainting networks saw in the place of masked parts (RunwayML 2022).

Knows no network and no node.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from executor.inference.extras import MaskedPicture

if TYPE_CHECKING:
    from executor.inference.diffusion import DiffusionModel
    from executor.inference.vae import Vae

CELLS = 16  # of the grey picture's sides: its middle is far from its edges, which the autoencoder sees as dark
MIDDLE = slice(CELLS // 2 - 2, CELLS // 2 + 2)


class GreyLatent:
    """The latent [1, C, 1, 1] of medium grey in an autoencoder's scale; found when it is asked for first."""

    def __init__(self, vae: Vae) -> None:
        self._vae = vae
        self._found: Tensor | None = None

    def __call__(self) -> Tensor:
        """The mean over the middle of a grey picture's latents."""
        if self._found is None:
            side = CELLS * self._vae.downscale
            cells = self._vae.encode(torch.full((1, side, side, 3), 0.5))
            self._found = cells[..., MIDDLE, MIDDLE].mean(dim=(-2, -1), keepdim=True)
        return self._found


def show_grey(model: DiffusionModel, vae: Vae | None) -> None:
    """Let an inpainting model's masked parts be grey as its own checkpoint's autoencoder encodes it."""
    if vae is None:
        return
    grey = GreyLatent(vae)
    model.extras = tuple(
        replace(extra, own_grey=grey) if isinstance(extra, MaskedPicture) else extra for extra in model.extras
    )
