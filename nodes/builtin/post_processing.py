"""Nodes that blend, blur and quantize pictures. The filters are executor.inference's; know no models."""

import numpy as np
import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.filters import filtered, gaussian, sharpened, with_fewer_colours
from executor.inference.pixels import resize_images, to_pil, with_channels
from executor.inference.values import Image
from nodes.builtin.inputs import InputTypes, combo, decimal, integer

PACK = "comfy_extras.nodes_post_processing"
CATEGORY = "image/postprocessing"
BLEND_MODES = ["normal", "multiply", "screen", "overlay", "soft_light", "difference"]
DITHERS = ["none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16"]
IMAGE = ("IMAGE", dict[str, object]())
MAX_RADIUS = 31


class ImageBlend:
    """Blends one picture into another."""

    LISTING = "v3"
    PACK = PACK
    CATEGORY = CATEGORY
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "blend_images"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        how = {"blend_factor": decimal(0.5, 0.0, 1.0), "blend_mode": combo(BLEND_MODES)}
        return {"required": {"image1": IMAGE, "image2": IMAGE, **how}}

    def blend_images(self, image1: Image, image2: Image, blend_factor: float, blend_mode: str) -> tuple[Image]:
        """`image1` with so much of the blend of both; `image2` is cut and resized to its size.

        A missing alpha channel of `image2` counts as opaque. NodeInputError for batches of unlike numbers, unless one
        of them is of one picture.
        """
        if len(image1) != len(image2) and 1 not in (len(image1), len(image2)):
            counts = f"{len(image1)} pictures cannot be blended with {len(image2)}"
            raise NodeInputError(f"input 'image2': {counts}; give one, or as many")
        above = with_channels(image2, image1.shape[-1]).to(image1)
        if above.shape[1:3] != image1.shape[1:3]:
            above = resize_images(above, image1.shape[2], image1.shape[1], "bicubic", crop="center")
        both = blended(image1, above, blend_mode)
        return ((image1 * (1 - blend_factor) + both * blend_factor).clamp(0, 1),)


def blended(below: Tensor, above: Tensor, mode: str) -> Tensor:
    """Two pictures in one of BLEND_MODES (W3C Compositing and Blending 1; overlay asks the lower picture)."""
    match mode:
        case "multiply":
            return below * above
        case "screen":
            return 1 - (1 - below) * (1 - above)
        case "overlay":
            return torch.where(below <= 0.5, 2 * below * above, 1 - 2 * (1 - below) * (1 - above))
        case "soft_light":
            bright = torch.where(below <= 0.25, ((16 * below - 12) * below + 4) * below, below.clamp(min=0).sqrt())
            darker = below - (1 - 2 * above) * below * (1 - below)
            return torch.where(above <= 0.5, darker, below + (2 * above - 1) * (bright - below))
        case "difference":
            return below - above
        case _:
            return above


class ImageBlur:
    """Blurs pictures."""

    LISTING = "v3"
    PACK = PACK
    CATEGORY = CATEGORY
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "blur"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"image": IMAGE, "blur_radius": _radius(), "sigma": _sigma(0.1)}}

    def blur(self, image: Image, blur_radius: int, sigma: float) -> tuple[Image]:
        """Each pixel as a mean of a square; `sigma` is in parts of the radius."""
        return (filtered(image.movedim(-1, 1), gaussian(blur_radius, sigma)).movedim(1, -1),)


class ImageSharpen:
    """Sharpens pictures."""

    LISTING = "v3"
    PACK = PACK
    CATEGORY = CATEGORY
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "sharpen"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        how = {"sharpen_radius": _radius(), "sigma": _sigma(0.01), "alpha": decimal(1.0, 0.0, 5.0)}
        return {"required": {"image": IMAGE, **how}}

    def sharpen(self, image: Image, sharpen_radius: int, sigma: float, alpha: float) -> tuple[Image]:
        """Unsharp masking; `sigma` is in parts of the radius, `alpha` 0 leaves the picture."""
        sharp = sharpened(image.movedim(-1, 1), gaussian(sharpen_radius, sigma), alpha)
        return (sharp.clamp(0, 1).movedim(1, -1),)


class ImageQuantize:
    """Paints pictures in few colours."""

    LISTING = "v3"
    PACK = PACK
    CATEGORY = CATEGORY
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "quantize"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"image": IMAGE, "colors": integer(256, 1, 256, step=1), "dither": combo(DITHERS)}}

    def quantize(self, image: Image, colors: int, dither: str) -> tuple[Image]:
        """Each picture in colours of its own; alpha is dropped."""
        pictures = [with_fewer_colours(to_pil(one[..., :3]).convert("RGB"), colors, dither) for one in image]
        values = np.stack([np.asarray(picture, dtype=np.float32) / 255 for picture in pictures])
        return (torch.from_numpy(values),)


def _radius() -> tuple[object, ...]:
    return integer(1, 1, MAX_RADIUS, step=1)


def _sigma(step: float) -> tuple[object, ...]:
    return decimal(1.0, 0.1, 10.0, step)


NODES = (ImageBlend, ImageBlur, ImageSharpen, ImageQuantize)
