"""What Flux.1's networks take beside latents, times and text, made of a conditioning's options.

Sizes and orders are those of Black Forest Labs' fill, control and Kontext models (2024, 2025). Knows no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from executor.errors import NodeInputError
from executor.inference.extras import (
    Given,
    MaskedPicture,
    Options,
    PictureBeside,
    Situation,
    number,
    picture_of,
    seen_latents,
    side_by_side,
    whole,
)
from executor.inference.latent_formats import LatentFormat
from executor.inference.pixels import common_upscale

BIAS = "attention_bias"
"""The option that holds what is added to the attention's scores of each token of the text, [1, T]."""
GUIDANCE = 3.5  # where a conditioning names none


@dataclass(frozen=True, slots=True, kw_only=True)
class TextVector:
    """The text as one vector."""

    width: int

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`y` [1 or B, width]: zeros where the conditioning has none; NodeInputError for one of another width."""
        pooled = options.get("pooled_output")
        if not isinstance(pooled, Tensor):
            return {"y": torch.zeros(1, self.width)}
        if pooled.shape[-1] != self.width:
            widths = f"a pooled vector of width {self.width}; this one has one of width {pooled.shape[-1]}"
            advice = "Encode the text with the text encoders that belong to the model"
            raise NodeInputError(f"this model takes conditioning with {widths}. {advice}")
        return {"y": pooled.float()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """How strong the guidance is that the network was taught."""

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`guidance` [1]; nothing where the conditioning says None (FluxDisableGuidance)."""
        if "guidance" in options and options["guidance"] is None:
            return {}
        return {"guidance": torch.tensor([number(options, "guidance", GUIDANCE)])}


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherPictures:
    """Latents of pictures that the network sees (Kontext; Labs et al. 2025, arXiv:2506.15742)."""

    latent_format: LatentFormat

    def __call__(self, options: Options, situation: Situation) -> Mapping[str, Given]:
        """`ref_latents`, and `ref_latents_method` where the conditioning says how they are placed."""
        pictures = seen_latents(options, self.latent_format)
        if not pictures:
            return {}
        given: dict[str, Given] = {"ref_latents": pictures}
        method = options.get("reference_latents_method")
        return given | ({"ref_latents_method": method} if isinstance(method, str) else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class MindedTokens:
    """How much attention minds each token of the text (Redux at strengths that are told as attention's)."""

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`attention_mask` [1, T], added to scores; nothing where the conditioning has none."""
        bias, text = options.get(BIAS), situation.context
        if not isinstance(bias, Tensor) or text is None:
            return {}
        return {"attention_mask": functional.pad(bias.float(), (0, text.shape[1] - bias.shape[1]))}


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedCells(MaskedPicture):
    """More channels of models that fill: the picture without what is drawn anew, and the mask's pixels of each cell."""

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`c_concat` [1 or B, C + 64, h, w]: picture and mask of the conditioning, else those of the sampling."""
        picture, mask = picture_of(options, situation, self.latent_format), options.get("concat_mask")
        if picture is not None:
            where = self.pixels(mask if isinstance(mask, Tensor) else None, situation)
            return {"c_concat": side_by_side(picture, where)}
        drawn, grey = whole(situation)[:, None], self.grey()
        kept = grey if situation.latent is None else situation.latent.cpu().float()
        masked = grey + (kept - grey) * (1.0 - drawn)
        return {"c_concat": side_by_side(masked, self.pixels(situation.mask, situation))}

    def pixels(self, mask: Tensor | None, situation: Situation) -> Tensor:
        """The pixels of a mask in each cell, [1 or B, 64, h, w]; of no mask, ones."""
        cell = self.latent_format.downscale
        height, width = situation.shape[-2:]
        if mask is None:
            return torch.ones(1, cell * cell, height, width)
        fitted = common_upscale(planes_of(mask), width * cell, height * cell, "bilinear", "center")
        return functional.pixel_unshuffle(fitted, cell)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside(MaskedPicture):
    """What stands beside the latents, by how many channels the network takes now: LoRAs may add some (Canny, Depth)."""

    channels: Callable[[], int]  # of the network's latents with what is beside them

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`c_concat`, where it takes something; NodeInputError where nobody knows what."""
        beside = self.channels() - self.latent_format.channels
        if beside == 0:
            return {}
        if beside == self.latent_format.channels:
            return PictureBeside(latent_format=self.latent_format, scaled=True)(options, situation)
        if beside == self.latent_format.channels + self.latent_format.downscale**2:
            return MaskedCells(latent_format=self.latent_format, own_grey=self.own_grey)(options, situation)
        raise NodeInputError(f"this model takes {beside} channels beside its latents, which mean nothing known")


def planes_of(mask: Tensor) -> Tensor:
    """A mask [H, W], [B, H, W] or [B, 1, H, W] as [B, 1, H, W] on the CPU."""
    return mask.reshape(-1, 1, *mask.shape[-2:]).cpu().float()
