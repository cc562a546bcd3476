"""What Qwen-Image takes beside latents, times and text, made of a conditioning's options. Knows no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from executor.inference.extras import Given, Options, Situation
from executor.inference.latent_formats import LatentFormat

VIDEO = 5  # dimensions of latents with frames


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPictures:
    """Latents of the pictures that Qwen-Image-Edit sees, each in a layer of its own.

    That is how it was trained: other ways of placing them (`reference_latents_method`) are Flux's.
    """

    latent_format: LatentFormat

    def __call__(self, options: Options, situation: Situation) -> Mapping[str, Given]:
        """`ref_latents`, [1 or B, C, f, h, w] each; nothing without any."""
        pictures = options.get("reference_latents")
        if not isinstance(pictures, list | tuple) or not pictures:
            return {}
        return {"ref_latents": tuple(self.latent_format.process_in(with_frames(each.float())) for each in pictures)}


def with_frames(latents: Tensor) -> Tensor:
    """Latents [B, C, h, w] as those of videos of one frame [B, C, 1, h, w]."""
    return latents if latents.ndim == VIDEO else latents[:, :, None]
