"""What Qwen-Image takes beside latents, times and text, made of a conditioning's options. Knows no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from executor.inference.extras import Given, Options, Situation, seen_latents
from executor.inference.latent_formats import LatentFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPictures:
    """Latents of the pictures that Qwen-Image-Edit sees, each in a layer of its own.

    That is how it was trained: other ways of placing them (`reference_latents_method`) are Flux's.
    """

    latent_format: LatentFormat

    def __call__(self, options: Options, situation: Situation) -> Mapping[str, Given]:
        """`ref_latents`, [1 or B, C, f, h, w] each; nothing without any."""
        pictures = seen_latents(options, self.latent_format)
        return {"ref_latents": pictures} if pictures else {}
