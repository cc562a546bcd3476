"""Nodes that make, scale, invert, join and pad pictures. Know no files and no models."""

import torch

from executor.inference.devices import refuse_unless_fits
from executor.inference.pixels import common_upscale, fitted_size, pad_for_outpaint, resize_images, with_channels
from executor.inference.values import Image, Mask
from nodes.builtin.inputs import CROP_METHODS, RESIZE_METHODS, InputTypes, choice, decimal, integer, pixels, socket

COLOURS = 3


class EmptyImage:
    """A picture of one colour."""

    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "width": pixels(),
                "height": pixels(),
                "batch_size": integer(1, 1, 4096),
                "color": integer(0, 0, 0xFFFFFF, step=1, display="color"),
            }
        }

    def generate(self, width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[Image]:
        """Pictures [batch, height, width, 3] of the colour 0xRRGGBB; NodeInputError when no memory is left for them."""
        refuse_unless_fits(
            (batch_size, height, width, COLOURS), f"a batch of {batch_size} with {width} x {height} pixels"
        )
        values = torch.tensor([(color >> shift & 0xFF) / 0xFF for shift in (16, 8, 0)])
        return (values.expand(batch_size, height, width, COLOURS).contiguous(),)


class ImageScale:
    """Scales pictures to a size in pixels."""

    DISPLAY_NAME = "Upscale Image"
    CATEGORY = "image/upscaling"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "image": socket("IMAGE"),
                "upscale_method": choice(RESIZE_METHODS),
                "width": pixels(512, 0),
                "height": pixels(512, 0),
                "crop": choice(CROP_METHODS),
            }
        }

    def upscale(self, image: Image, upscale_method: str, width: int, height: int, crop: str) -> tuple[Image]:
        """Scaled pictures; a width or height of 0 follows the other one, both 0 leave them as they are."""
        if width == 0 and height == 0:
            return (image,)
        width, height = fitted_size(width, height, image.shape[2], image.shape[1])
        return (resize_images(image, width, height, upscale_method, crop),)


class ImageScaleBy:
    """Scales pictures by a factor."""

    DISPLAY_NAME = "Upscale Image By"
    CATEGORY = "image/upscaling"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "image": socket("IMAGE"),
                "upscale_method": choice(RESIZE_METHODS),
                "scale_by": decimal(1.0, 0.01, 8.0),
            }
        }

    def upscale(self, image: Image, upscale_method: str, scale_by: float) -> tuple[Image]:
        """Scaled pictures."""
        width, height = (max(1, round(side * scale_by)) for side in (image.shape[2], image.shape[1]))
        return (resize_images(image, width, height, upscale_method),)


class ImageInvert:
    """Turns colours into their opposites."""

    DISPLAY_NAME = "Invert Image"
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "invert"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"image": socket("IMAGE")}}

    def invert(self, image: Image) -> tuple[Image]:
        """One minus the picture."""
        return (1.0 - image,)


class ImageBatch:
    """Puts two batches of pictures together."""

    DISPLAY_NAME = "Batch Images"
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "batch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"image1": socket("IMAGE"), "image2": socket("IMAGE")}}

    def batch(self, image1: Image, image2: Image) -> tuple[Image]:
        """The first pictures, then the second ones scaled to their size; a missing alpha channel counts as opaque."""
        channels = max(image1.shape[-1], image2.shape[-1])
        image1, image2 = (with_channels(image, channels) for image in (image1, image2))
        if image1.shape[1:] != image2.shape[1:]:
            second = common_upscale(image2.movedim(-1, 1), image1.shape[2], image1.shape[1], "bilinear", "center")
            image2 = second.movedim(1, -1)
        return (torch.cat((image1, image2), dim=0),)


class ImagePadForOutpaint:
    """Adds a border to a picture, and the mask to paint it."""

    DISPLAY_NAME = "Pad Image for Outpainting"
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "expand_image"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "image": socket("IMAGE"),
                "left": pixels(0, 0, 8),
                "top": pixels(0, 0, 8),
                "right": pixels(0, 0, 8),
                "bottom": pixels(0, 0, 8),
                "feathering": pixels(40, 0),
            }
        }

    def expand_image(
        self, image: Image, left: int, top: int, right: int, bottom: int, feathering: int
    ) -> tuple[Image, Mask]:
        """The padded pictures and the mask of the border."""
        return pad_for_outpaint(image, left, top, right, bottom, feathering)


NODES = (EmptyImage, ImageScale, ImageScaleBy, ImageInvert, ImageBatch, ImagePadForOutpaint)
