"""Nodes that lay pictures and latents over each other, and split and join alpha. Know no files and no models."""

import torch
from torch import Tensor
from torch.nn import functional

from executor.inference.pixels import common_upscale, paste, resize_images, with_channels
from executor.inference.porter_duff import MODES, composite
from executor.inference.values import Image, Latent, Mask
from nodes.builtin.inputs import InputTypes, combo, flag, pixels, socket
from nodes.builtin.latent import CELL, check_cells, check_kind, check_length, with_samples
from nodes.builtin.mask_edit import planes

MASK_PACK = "comfy_extras.nodes_mask"
PACK = "comfy_extras.nodes_compositing"


def _place_inputs(kind: str, step: int) -> InputTypes:
    return {
        "required": {
            "destination": socket(kind),
            "source": socket(kind),
            "x": pixels(0, 0, step),
            "y": pixels(0, 0, step),
            "resize_source": flag(default=False),
        },
        "optional": {"mask": socket("MASK")},
    }


class ImageCompositeMasked:
    """Pastes pictures into others."""

    PACK = MASK_PACK
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "composite"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return _place_inputs("IMAGE", 1)

    def composite(
        self, destination: Image, source: Image, x: int, y: int, resize_source: bool, mask: Mask | None = None
    ) -> tuple[Image]:
        """`source` at (x, y) where the mask is 1; a missing alpha channel counts as opaque."""
        below = destination.movedim(-1, 1)
        above = with_channels(source, destination.shape[-1]).movedim(-1, 1)
        if resize_source:
            above = functional.interpolate(above, size=below.shape[-2:], mode="bilinear")
        return (paste(below, above, x, y, mask).movedim(1, -1),)


class LatentCompositeMasked:
    """Pastes latents into others."""

    PACK = MASK_PACK
    CATEGORY = "latent"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "composite"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return _place_inputs("LATENT", 8)

    def composite(
        self, destination: Latent, source: Latent, x: int, y: int, resize_source: bool, mask: Mask | None = None
    ) -> tuple[Latent]:
        """`source` at (x, y), in pixels, where the mask is 1."""
        below, above = destination["samples"], source["samples"]
        check_cells(below)
        check_kind(below, above)
        if resize_source:
            above = common_upscale(above, below.shape[-1], below.shape[-2], "bilinear", "disabled")
        check_length(below, above)
        return (with_samples(destination, paste(below, above, x // CELL, y // CELL, mask)),)


class SplitImageWithAlpha:
    """Takes pictures and their alpha apart."""

    LISTING = "v3"
    DISPLAY_NAME = "Split Image with Alpha"
    PACK = PACK
    CATEGORY = "mask/compositing"
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "split"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"image": ("IMAGE", {})}}

    def split(self, image: Image) -> tuple[Image, Mask]:
        """Colours, and 1 - alpha (0 where there is none)."""
        alpha = image[..., 3] if image.shape[-1] > 3 else torch.ones_like(image[..., 0])
        return image[..., :3], 1.0 - alpha


class JoinImageWithAlpha:
    """Gives pictures an alpha channel."""

    LISTING = "v3"
    DISPLAY_NAME = "Join Image with Alpha"
    PACK = PACK
    CATEGORY = "mask/compositing"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "join"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"image": ("IMAGE", {}), "alpha": ("MASK", {})}}

    def join(self, image: Image, alpha: Mask) -> tuple[Image]:
        """Colours with 1 - mask as alpha, as many as the shorter batch has."""
        opacity = 1.0 - _sized(alpha, image)
        count = min(len(image), len(opacity))
        return (torch.cat((image[:count, ..., :3], opacity[:count].unsqueeze(-1)), dim=-1),)


def _sized(mask: Mask, like: Image) -> Mask:
    """The mask [B, H, W] scaled to the size of pictures."""
    stack = mask.reshape(-1, 1, mask.shape[-2], mask.shape[-1])
    return functional.interpolate(stack, size=like.shape[1:3], mode="bilinear").squeeze(1)


class PorterDuffImageComposite:
    """Lays pictures over each other by their alphas."""

    LISTING = "v3"
    DISPLAY_NAME = "Porter-Duff Image Composite"
    PACK = PACK
    CATEGORY = "mask/compositing"
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "lay"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "source": ("IMAGE", {}),
                "source_alpha": ("MASK", {}),
                "destination": ("IMAGE", {}),
                "destination_alpha": ("MASK", {}),
                "mode": combo(list(MODES), default="DST"),
            }
        }

    def lay(
        self, source: Image, source_alpha: Mask, destination: Image, destination_alpha: Mask, mode: str
    ) -> tuple[Image, Mask]:
        """The pictures and masks (1 - alpha) of the result; everything is scaled to the destination's size.

        Where one picture has an alpha channel of its own and the other none, that of the latter is opaque.
        """
        source_alpha, destination_alpha = planes(source_alpha), planes(destination_alpha)
        channels = max(source.shape[-1], destination.shape[-1])
        source, destination = with_channels(source, channels), with_channels(destination, channels)
        count = min(len(source), len(source_alpha), len(destination), len(destination_alpha))
        height, width = destination.shape[1:3]
        above = resize_images(source[:count], width, height, "bicubic", "center")
        alphas = [1.0 - _fitted(mask[:count], width, height) for mask in (source_alpha, destination_alpha)]
        colours, alpha = composite(above, alphas[0], destination[:count], alphas[1], mode)
        return colours, 1.0 - alpha.squeeze(-1)


def _fitted(mask: Mask, width: int, height: int) -> Tensor:
    """The mask [B, H, W] as [B, height, width, 1]."""
    return common_upscale(mask.unsqueeze(1), width, height, "bicubic", "center").movedim(1, -1)


NODES = (
    ImageCompositeMasked,
    LatentCompositeMasked,
    SplitImageWithAlpha,
    JoinImageWithAlpha,
    PorterDuffImageComposite,
)
