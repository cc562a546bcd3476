"""ControlNets that read their pictures as latents: what those of all families share. Knows no network."""

from __future__ import annotations

from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.control import Control
from executor.inference.pixels import common_upscale


class LatentControl(Control):
    """Such a ControlNet with its picture, which comes with the VAE that encodes it."""

    compression_ratio = 1  # a size is told in cells

    def pixels(self, size: tuple[int, int], cell: int) -> Tensor:
        """The picture [B, 3, H, W] in 0..1 for latents of a size in cells of so many pixels.

        Raises NodeInputError without a VAE.
        """
        if self.vae is None:
            reason = "this ControlNet reads pictures as latents"
            advice = "connect the VAE of the model to the input 'vae' of the node that applies it"
            raise NodeInputError(f"{reason}: {advice}")
        return super().scaled_hint((size[0] * cell, size[1] * cell))[:, :3]

    def encoded(self, pixels: Tensor, channels: int) -> Tensor:
        """The VAE's latents [B, channels, ...] of pixels; NodeInputError where that is another one's VAE."""
        latents: Tensor = self.vae.encode(pixels.movedim(1, -1))  # type: ignore[union-attr]  # pixels() has asked
        if latents.shape[1] != channels:
            raise other_vae(f"{channels} channels, and the VAE makes {latents.shape[1]}")
        return latents

    def kept(self, latents: Tensor, channels: int) -> Tensor:
        """Masks [B, channels, h, w] of what is kept of the picture; everything where none was given."""
        if channels <= 0 or not self.extra_concat_orig:
            return latents.new_ones(len(latents), max(0, channels), *latents.shape[-2:])
        height, width = latents.shape[-2:]
        kept = common_upscale(self.extra_concat_orig[0].float(), width, height, self.upscale_algorithm, "center")
        return kept.to(latents).expand(len(latents), channels, -1, -1)


def other_vae(found: str) -> NodeInputError:
    """What is wrong with the latents of a VAE, of which this ControlNet reads others."""
    return NodeInputError(f"this ControlNet reads latents of {found}: connect the VAE that belongs to the model")


def check_width(own: int, model: int, what: str = "width") -> None:
    """Raise NodeInputError beside a network of another width than a ControlNet was made for."""
    if own != model:
        sizes = f"{what} {own}, and this model is of {what} {model}"
        raise NodeInputError(f"this ControlNet steers models of {sizes}: load one for this model")


def check_text(own: int, text: Tensor | None) -> None:
    """Raise NodeInputError for a text [B, T, C] of another width than a ControlNet takes."""
    if text is None or text.shape[-1] != own:
        found = "has none" if text is None else f"has {text.shape[-1]}"
        raise NodeInputError(f"this ControlNet takes text of width {own}, and the conditioning {found}")
