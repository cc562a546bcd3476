"""What networks take beside latents, time and text, made of a conditioning's options. Knows no network and no node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from executor.errors import NodeInputError
from executor.inference.latent_formats import LatentFormat
from executor.inference.pixels import common_upscale
from executor.inference.unet_layers import timestep_embedding

Options = Mapping[str, object]
Given: TypeAlias = Tensor | int | str | tuple[Tensor, ...]
"""What a network takes beside: a tensor [1 or B, ...], one value for all rows, or several tensors of own sizes."""
VIDEO = 5  # dimensions of latents with frames
NUMBER_WIDTH = 256  # of the vector that stands for one number
BASE_NUMBERS, REFINER_NUMBERS = 6, 5
# How pretty the refiner takes a picture to be that is asked for, and one that is to be avoided (Podell et al. 2023)
AESTHETIC, UNAESTHETIC = 6.0, 2.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Situation:
    """The sampling that a conditioning is for."""

    shape: torch.Size  # of the latents, [B, C, h, w]
    negative: bool = False  # whether the conditioning is what to avoid
    latent: Tensor | None = None  # what it starts from, in the network's scale
    mask: Tensor | None = None  # [1 or B, h, w], 1 where it draws anew; None: everywhere
    context: Tensor | None = None  # the conditioning's embedding [1 or B, T, C]


class Extra(Protocol):
    """One kind of further input."""

    def __call__(self, options: Options, situation: Situation) -> Mapping[str, Given]:
        """The inputs by name: `y` [1 or B, V], `c_concat` [1 or B, C, h, w], or a value that holds for all rows.

        `c_crossattn` [1 or B, T, C] takes the place of the conditioning's embedding.

        Raises NodeInputError when the conditioning lacks what the network needs.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeVector:
    """SDXL's vector: the pooled text and sizes as numbers (Podell et al. 2023, arXiv:2307.01952, section 2.2)."""

    pooled: int  # width of the text's vector
    refiner: bool = False
    downscale: int = 8  # pixels per latent cell

    @property
    def width(self) -> int:
        """Width of the whole vector."""
        return self.pooled + NUMBER_WIDTH * (REFINER_NUMBERS if self.refiner else BASE_NUMBERS)

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`y`: sizes that the conditioning does not name are the picture's own."""
        pooled = pooled_text(options, self.pooled)
        numbers = torch.tensor(self.numbers(options, situation), dtype=torch.float32)
        vector = timestep_embedding(numbers, NUMBER_WIDTH).reshape(1, -1)
        return {"y": torch.cat([pooled, vector.expand(len(pooled), -1).to(pooled.device)], dim=1)}

    def numbers(self, options: Options, situation: Situation) -> list[float]:
        """What the vector tells beside the text."""
        height = number(options, "height", situation.shape[-2] * self.downscale)
        width = number(options, "width", situation.shape[-1] * self.downscale)
        sizes = [height, width, number(options, "crop_h", 0), number(options, "crop_w", 0)]
        if self.refiner:
            usual = UNAESTHETIC if situation.negative else AESTHETIC
            return [*sizes, number(options, "aesthetic_score", usual)]
        return [*sizes, number(options, "target_height", height), number(options, "target_width", width)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledText:
    """The pooled text alone (Esser et al. 2024, arXiv:2403.03206)."""

    width: int

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`y`."""
        return {"y": pooled_text(options, self.width)}


def pooled_text(options: Options, width: int) -> Tensor:
    """The pooled vector [1 or B, width] of a conditioning, float32.

    Raises NodeInputError when it has none of this width.
    """
    pooled = options.get("pooled_output")
    if isinstance(pooled, Tensor) and pooled.shape[-1] == width:
        return pooled.float()
    found = f"one of width {pooled.shape[-1]}" if isinstance(pooled, Tensor) else "none"
    reason = f"this model takes conditioning with a pooled vector of width {width}; this one has {found}"
    raise NodeInputError(f"{reason}. Encode the text with the text encoder that belongs to the model")


def number(options: Options, name: str, default: float) -> float:
    """A number among options."""
    found = options.get(name)
    return float(found) if isinstance(found, int | float) else float(default)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedPicture:
    """Five more channels of inpainting models: where to draw anew, and the picture without that part."""

    latent_format: LatentFormat
    own_grey: Callable[[], Tensor] | None = None  # what its autoencoder makes of grey; None: what previews show so

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`c_concat`: mask and picture of the conditioning; without them, those of the sampling itself."""
        picture, mask = picture_of(options, situation, self.latent_format), options.get("concat_mask")
        where = whole(situation) if picture is None else torch.ones(1, *situation.shape[-2:])
        if picture is not None and isinstance(mask, Tensor):
            where = planes(mask, situation)
        if picture is None:
            grey = self.grey()
            kept = grey if situation.latent is None else situation.latent.cpu().float()
            picture = grey + (kept - grey) * (1.0 - where[:, None])
        return {"c_concat": side_by_side(where[:, None], picture)}

    def grey(self) -> Tensor:
        """The latent [1, C, 1, 1] of the masked part, in the network's scale."""
        return self.latent_format.grey() if self.own_grey is None else self.latent_format.process_in(self.own_grey())


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureBeside:
    """Four more channels of models that edit pictures (Brooks et al. 2023, arXiv:2211.09800): the picture's latents."""

    latent_format: LatentFormat
    scaled: bool = False  # whether they come in the network's scale

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`c_concat`: the picture of the conditioning; zeros without one, as in the training without a picture."""
        picture = picture_of(options, situation, self.latent_format if self.scaled else None)
        if picture is None:
            picture = torch.zeros(1, self.latent_format.channels, *situation.shape[-2:])
        return {"c_concat": picture}


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A vector of numbers, each as a row of waves (Blattmann et al. 2023, arXiv:2311.15127, appendix D)."""

    names: Mapping[str, float]  # option → what stands for a missing one
    offsets: Mapping[str, float] = field(default_factory=dict)  # option → what is added to it

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`y` [1, 256 n]."""
        values = [number(options, name, usual) + self.offsets.get(name, 0.0) for name, usual in self.names.items()]
        return {"y": timestep_embedding(torch.tensor(values), NUMBER_WIDTH).reshape(1, -1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """How many rows are one video: all latents of the sampling."""

    def __call__(self, options: Options, situation: Situation) -> dict[str, int]:
        """`num_video_frames`."""
        return {"num_video_frames": situation.shape[0]}


def picture_of(options: Options, situation: Situation, latent_format: LatentFormat | None) -> Tensor | None:
    """The picture's latents that a conditioning brings, in the size of the sampling's."""
    picture = options.get("concat_latent_image")
    if not isinstance(picture, Tensor):
        return None
    latents = picture.float() if latent_format is None else brought(picture, latent_format)
    height, width = situation.shape[-2:]
    if latents.shape[-2:] == (height, width):
        return latents
    return common_upscale(latents, width, height, "bilinear", "center")


def seen_latents(options: Options, latent_format: LatentFormat) -> tuple[Tensor, ...]:
    """The latents of further pictures that a conditioning brings, in the network's scale; none where it brings none.

    Raises NodeInputError for those of another kind of model.
    """
    pictures = options.get("reference_latents")
    if not isinstance(pictures, list | tuple):
        return ()
    return tuple(brought(each, latent_format) for each in pictures)


def brought(picture: Tensor, latent_format: LatentFormat) -> Tensor:
    """A picture's latents in the network's scale, to a network of videos as one frame.

    Raises NodeInputError for those of another kind of model.
    """
    dimensions, channels = 2 + latent_format.latent_dimensions, latent_format.channels
    latents = picture[:, :, None] if dimensions == VIDEO and picture.ndim == VIDEO - 1 else picture
    if latents.ndim != dimensions or latents.shape[1] != channels:
        brings = f"latents of shape {list(picture.shape)} beside the text"
        takes = f"the model sees pictures as latents of {channels} channels ({latent_format.name})"
        raise NodeInputError(f"this conditioning brings {brings}, but {takes}: encode them with the model's VAE")
    return latent_format.process_in(latents.float())


def whole(situation: Situation) -> Tensor:
    """The sampling's mask of zeros and ones; ones without one."""
    if situation.mask is None:
        return torch.ones(1, *situation.shape[-2:])
    return planes(situation.mask, situation)


def planes(mask: Tensor, situation: Situation) -> Tensor:
    """A mask [H, W], [B, H, W] or [B, 1, H, W] in cells, [B, h, w], of zeros and ones."""
    size = (situation.shape[-2], situation.shape[-1])
    given = mask.reshape(-1, 1, mask.shape[-2], mask.shape[-1]).cpu().float()
    fitted = given if given.shape[-2:] == size else functional.interpolate(given, size=size, mode="bilinear")
    return fitted[:, 0].round()


def side_by_side(first: Tensor, second: Tensor) -> Tensor:
    """Channels of both [1 or B, C, h, w], the smaller batch repeated."""
    rows = max(len(first), len(second))
    size = first.shape[-2:]
    parts = [each.expand(rows if len(each) == 1 else len(each), -1, *size) for each in (first, second)]
    shortest = min(len(each) for each in parts)
    repeats = -(-rows // shortest)
    return torch.cat([each if len(each) == rows else each.repeat(repeats, 1, 1, 1)[:rows] for each in parts], dim=1)
