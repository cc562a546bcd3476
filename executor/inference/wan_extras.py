"""What Wan's networks take beside latents, times and text, made of a conditioning's options. Knows no network.

Orders of channels are those of Wan 2.1 and 2.2 (Wan-Video) and of VideoX-Fun's networks for controls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from executor.errors import NodeInputError
from executor.inference.extras import Given, Options, Situation
from executor.inference.latent_formats import LatentFormat
from executor.inference.latent_masks import noise_mask_like
from executor.inference.pixels import common_upscale

MASK = 4
"""Channels that say of each picture of a latent frame whether it is given."""
VIDEO = 5  # dimensions of latents of videos


@dataclass(frozen=True, slots=True, kw_only=True)
class LedByTokens:
    """A picture that leads, as a vision model sees it."""

    width: int

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`clip_fea` [B, T, width]; nothing without a picture. NodeInputError for another vision model."""
        seen = getattr(options.get("clip_vision_output"), "penultimate_hidden_states", None)
        if not isinstance(seen, Tensor):
            return {}
        if seen.shape[-1] != self.width:
            widths = f"pictures of width {self.width}, and this vision model gives {seen.shape[-1]}"
            raise NodeInputError(f"this model takes {widths}. Load the vision model that belongs to it (CLIP ViT-H)")
        return {"clip_fea": seen.float()}


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesBeside:
    """Further channels: latents of given pictures or of a control, and which pictures are given."""

    latent_format: LatentFormat
    latents: int  # channels of latents
    masked_at: int | None  # how many of these stand before the channels that say so; None: nothing says so

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`c_concat` [1 or B, C, F, h, w]: zeros for what the conditioning does not bring."""
        shape = situation.shape
        found = options.get("concat_latent_image")
        beside = torch.zeros(1, self.latents, *shape[2:])
        if isinstance(found, Tensor):
            beside = fitted(scaled(found, self.latent_format), shape)[:, : self.latents]
            beside = functional.pad(beside, (0, 0) * 3 + (0, self.latents - beside.shape[1]))
        if self.masked_at is None:
            return {"c_concat": beside}
        mask = options.get("concat_mask") if isinstance(found, Tensor) else None
        given = torch.zeros(1, MASK, *shape[2:]) if not isinstance(mask, Tensor) else 1.0 - of_pictures(mask, shape)
        rows = max(len(beside), len(given))
        before, behind = beside[:, : self.masked_at], beside[:, self.masked_at :]
        parts = [each.expand(rows, *each.shape[1:]) for each in (before, given, behind)]
        return {"c_concat": torch.cat(parts, dim=1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesBehind:
    """Latents of pictures that are seen behind the video (Phantom; Liu et al. 2025, arXiv:2502.11079)."""

    latent_format: LatentFormat

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`time_dim_concat` [1 or B, C, f, h, w], in the size of the video."""
        found = options.get("time_dim_concat")
        if not isinstance(found, Tensor):
            return {}
        latents = self.latent_format.process_in(found.float())
        height, width = situation.shape[-2:]
        if latents.shape[-2:] != (height, width):
            latents = common_upscale(latents, width, height, "bilinear", "center")
        return {"time_dim_concat": latents}


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureBefore:
    """Latents of a picture that is seen before the video."""

    latent_format: LatentFormat

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`reference_latent` [1 or B, C, h, w], in the size of the video."""
        found = options.get("reference_latents")
        if not isinstance(found, list | tuple) or not found:
            return {}
        latent = self.latent_format.process_in(found[-1].float())
        latent = latent[:, :, 0] if latent.ndim == VIDEO else latent
        height, width = situation.shape[-2:]
        return {"reference_latent": common_upscale(latent, width, height, "bilinear", "center")}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTo:
    """Videos that the one to draw is to keep to, and where (Jiang et al. 2025, arXiv:2503.07598)."""

    latent_format: LatentFormat
    channels: int  # of each with its mask

    def __call__(self, options: Options, situation: Situation) -> Mapping[str, Given]:
        """`vace_context`, [1 or B, C, F, h, w] each, and `vace_strength` [1, videos]; nothing without any.

        Raises NodeInputError for latents or masks of other channels than the network takes.
        """
        videos, masks = options.get("vace_frames"), options.get("vace_mask")
        if not isinstance(videos, list | tuple) or not isinstance(masks, list | tuple) or not videos:
            return {}
        strengths = options.get("vace_strength")
        known = list(strengths) if isinstance(strengths, Sequence) else []
        numbers = [float(known[at]) if at < len(known) else 1.0 for at in range(len(videos))]
        contexts = tuple(self.context(*pair, situation.shape) for pair in zip(videos, masks, strict=True))
        return {"vace_context": contexts, "vace_strength": torch.tensor([numbers])}

    def context(self, video: Tensor, mask: Tensor, shape: torch.Size) -> Tensor:
        """Latents of what stays and of what is drawn anew, side by side, and the mask's pixels in each cell."""
        cells = fitted(mask.float().cpu(), shape, "nearest-exact")
        latents = fitted(scaled(video, self.latent_format), shape)
        if latents.shape[1] + cells.shape[1] != self.channels:
            sides = f"{latents.shape[1]} channels of latents and {cells.shape[1]} of masks"
            raise NodeInputError(f"this model keeps to videos of {self.channels} channels; these have {sides}")
        rows = max(len(latents), len(cells))
        return torch.cat([each.expand(rows, *each.shape[1:]) for each in (latents, cells)], dim=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFrames:
    """The parts of a video that stay: networks that know times of tokens see them without noise (Wan 2.2)."""

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`kept` [1 or B, C, F, h, w] and where the video is `drawn`, nothing without a mask.

        The latter is [B, 1, F, h, w], or [B, 1, F, 1, 1] where each frame stays as a whole or not at all.
        """
        if situation.mask is None or situation.latent is None:
            return {}
        drawn = noise_mask_like(situation.mask.cpu(), situation.shape)
        of_frames = drawn[..., :1, :1]
        return {"kept": situation.latent, "drawn": of_frames if bool((drawn == of_frames).all()) else drawn}


def scaled(latents: Tensor, latent_format: LatentFormat) -> Tensor:
    """Latents [B, n C, F, h, w] in the network's scale, n of them side by side."""
    parts = latents.float().cpu().split(latent_format.channels, dim=1)  # type: ignore[no-untyped-call]
    return torch.cat([latent_format.process_in(part) for part in parts], dim=1)


def fitted(values: Tensor, shape: torch.Size, method: str = "bilinear") -> Tensor:
    """Values [B, C, f, h, w] in the size of latents of a shape; frames that lack are zeros, those too many are cut."""
    frames, height, width = shape[2:]
    if values.shape[-2:] != (height, width):
        values = common_upscale(values, width, height, method, "center")
    return functional.pad(values[:, :, :frames], (0, 0, 0, 0, 0, max(0, frames - values.shape[2])))


def of_pictures(mask: Tensor, shape: torch.Size) -> Tensor:
    """A mask [B, 1 or 4, f, h, w] as four channels in the size of latents of a shape; frames that lack are drawn."""
    mask = mask.float().cpu()
    mask = mask if mask.ndim == VIDEO else mask.reshape(1, 1, -1, *mask.shape[-2:])
    mask = mask.expand(-1, MASK, -1, -1, -1) if mask.shape[1] == 1 else mask
    return 1.0 - fitted(1.0 - mask, shape, "nearest-exact")
