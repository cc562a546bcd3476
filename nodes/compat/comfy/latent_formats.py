"""How each family's latents are scaled, and what colours their channels show: a class for each, filled from a table.

Source of the table: reference numeric/tables.json, latent_formats.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from nodes.placeholders import fallback

__getattr__ = fallback(__name__)


class LatentFormat:
    """Scale of a latent space and the RGB of each channel for previews."""

    scale_factor: float = 1.0
    shift_factor: float = 0.0
    latent_channels: int = 4
    latent_dimensions: int = 2
    latent_rgb_factors: list[list[float]] | None = None
    latent_rgb_factors_bias: list[float] | None = None
    latent_rgb_factors_reshape: object = None
    taesd_decoder_name: str | None = None
    latents_mean_values: list[float] | None = None
    latents_std_values: list[float] | None = None

    def __init__(self, scale_factor: float | None = None) -> None:
        if scale_factor is not None:
            self.scale_factor = scale_factor
        if self.latents_mean_values is not None and self.latents_std_values is not None:
            shape = [1, self.latent_channels] + [1] * self.latent_dimensions
            self.latents_mean = torch.tensor(self.latents_mean_values).view(shape)
            self.latents_std = torch.tensor(self.latents_std_values).view(shape)

    def process_in(self, latent: Tensor) -> Tensor:
        """From the autoencoder's scale to the network's."""
        if self.latents_mean_values is not None:
            mean, deviation = self.latents_mean.to(latent), self.latents_std.to(latent)
            return (latent - mean) * self.scale_factor / deviation
        return (latent - self.shift_factor) * self.scale_factor

    def process_out(self, latent: Tensor) -> Tensor:
        """From the network's scale to the autoencoder's."""
        if self.latents_mean_values is not None:
            mean, deviation = self.latents_mean.to(latent), self.latents_std.to(latent)
            return latent * deviation / self.scale_factor + mean
        return latent / self.scale_factor + self.shift_factor


def _format(name: str, row: dict[str, object]) -> type[LatentFormat]:
    attributes = {
        "scale_factor": row["scale_factor"],
        "shift_factor": row.get("shift_factor", 0.0),
        "latent_channels": row["channels"],
        "latent_dimensions": row["dimensions"],
        "latent_rgb_factors": row.get("rgb_factors"),
        "latent_rgb_factors_bias": row.get("rgb_bias"),
        "taesd_decoder_name": row.get("taesd_decoder_name"),
        "latents_mean_values": row.get("latents_mean"),
        "latents_std_values": row.get("latents_std"),
        "__module__": __name__,
        "__doc__": f"Latents of {name}.",
    }
    return type(name, (LatentFormat,), attributes)


_TABLE: dict[str, dict[str, object]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
globals().update({name: _format(name, row) for name, row in _TABLE.items()})
