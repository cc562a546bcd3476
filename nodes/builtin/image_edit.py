"""Nodes that cut, turn, repeat and measure pictures. Know no files and no models."""

import math

import torch

from executor import context
from executor.inference.devices import refuse_unless_fits
from executor.inference.pixels import fit_inside, resize_images
from executor.inference.values import Image
from nodes.builtin.inputs import RESIZE_METHODS, InputTypes, choice, combo, decimal, integer, pixels, seed, socket

PACK = "comfy_extras.nodes_images"


class ImageCrop:
    """Cuts a rectangle out of pictures."""

    DISPLAY_NAME = "Image Crop"
    PACK = PACK
    CATEGORY = "image/transform"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "crop"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        size = {"width": pixels(), "height": pixels(), "x": pixels(0, 0), "y": pixels(0, 0)}
        return {"required": {"image": socket("IMAGE"), **size}}

    def crop(self, image: Image, width: int, height: int, x: int, y: int) -> tuple[Image]:
        """The part of the rectangle inside the picture; its corner is moved inside."""
        left, top = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
        return (image[:, top : top + height, left : left + width],)


class RepeatImageBatch:
    """Repeats a batch of pictures."""

    PACK = PACK
    CATEGORY = "image/batch"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "repeat"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"image": socket("IMAGE"), "amount": integer(1, 1, 4096)}}

    def repeat(self, image: Image, amount: int) -> tuple[Image]:
        """The batch `amount` times."""
        refuse_unless_fits((amount, *image.shape), f"{amount} times {list(image.shape)} pictures")
        return (image.repeat(amount, 1, 1, 1),)


class ImageFromBatch:
    """Takes a part of a batch of pictures."""

    PACK = PACK
    CATEGORY = "image/batch"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "frombatch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        part = {"batch_index": integer(0, 0, 4095), "length": integer(1, 1, 4096)}
        return {"required": {"image": socket("IMAGE"), **part}}

    def frombatch(self, image: Image, batch_index: int, length: int) -> tuple[Image]:
        """`length` pictures from `batch_index` on, as far as there are so many."""
        start = min(image.shape[0] - 1, batch_index)
        return (image[start : start + length].clone(),)


class ImageAddNoise:
    """Adds random grain to pictures."""

    PACK = PACK
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "repeat"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        noise = "Where the random numbers start: the same seed gives the same grain."
        return {"required": {"image": socket("IMAGE"), "seed": seed(noise), "strength": decimal(0.5, 0.0, 1.0)}}

    def repeat(self, image: Image, seed: int, strength: float) -> tuple[Image]:
        """The pictures plus `strength` times normal noise, cut to 0..1."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(image.shape, generator=generator, dtype=torch.float32).to(image)
        return ((image + strength * noise).clamp(0.0, 1.0),)


class GetImageSize:
    """Tells width, height and number of pictures."""

    DISPLAY_NAME = "Get Image Size"
    PACK = PACK
    CATEGORY = "image"
    DESCRIPTION = "Tells width, height and number of pictures; the pictures themselves are not passed on."
    RETURN_TYPES = ("INT", "INT", "INT")
    RETURN_NAMES = ("width", "height", "batch_size")
    FUNCTION = "get_size"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"image": socket("IMAGE")}, "hidden": {"unique_id": "UNIQUE_ID"}}

    def get_size(self, image: Image, unique_id: str | None = None) -> tuple[int, int, int]:
        """The numbers, which are also shown at the node."""
        batch, height, width = image.shape[:3]
        if unique_id:
            context.current().sink.text(unique_id, f"width: {width}, height: {height}\n batch size: {batch}")
        return width, height, batch


class ImageRotate:
    """Turns pictures by quarter turns."""

    PACK = PACK
    CATEGORY = "image/transform"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "rotate"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        turns = choice(["none", "90 degrees", "180 degrees", "270 degrees"])
        return {"required": {"image": socket("IMAGE"), "rotation": turns}}

    def rotate(self, image: Image, rotation: str) -> tuple[Image]:
        """Pictures turned clockwise."""
        turns = {"90": 1, "180": 2, "270": 3}.get(rotation.split(" ")[0], 0)
        return (torch.rot90(image, k=turns, dims=[2, 1]),)


class ImageFlip:
    """Mirrors pictures."""

    PACK = PACK
    CATEGORY = "image/transform"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "flip"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        ways = choice(["x-axis: vertically", "y-axis: horizontally"])
        return {"required": {"image": socket("IMAGE"), "flip_method": ways}}

    def flip(self, image: Image, flip_method: str) -> tuple[Image]:
        """Pictures mirrored top to bottom or left to right."""
        return (torch.flip(image, dims=[1 if flip_method.startswith("x") else 2]),)


class ImageScaleToMaxDimension:
    """Scales pictures so that the longer side has a given length."""

    PACK = PACK
    CATEGORY = "image/upscaling"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        methods = choice(["area", "lanczos", "bilinear", "nearest-exact", "bilinear", "bicubic"])
        return {"required": {"image": socket("IMAGE"), "upscale_method": methods, "largest_size": pixels(512, 0)}}

    def upscale(self, image: Image, upscale_method: str, largest_size: int) -> tuple[Image]:
        """Scaled pictures of the same proportions."""
        height, width = image.shape[1:3]
        if height > width:
            width, height = max(1, round(width / height * largest_size)), largest_size
        elif width > height:
            width, height = largest_size, max(1, round(height / width * largest_size))
        else:
            width = height = largest_size
        return (resize_images(image, width, height, upscale_method),)


class ImageScaleToTotalPixels:
    """Scales pictures to a number of megapixels."""

    LISTING = "v3"
    PACK = "comfy_extras.nodes_post_processing"
    CATEGORY = "image/upscaling"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        size = decimal(1.0, 0.01, 16.0)
        return {"required": {"image": ("IMAGE", {}), "upscale_method": combo(RESIZE_METHODS), "megapixels": size}}

    def upscale(self, image: Image, upscale_method: str, megapixels: float) -> tuple[Image]:
        """Scaled pictures of the same proportions; a megapixel is 1024 x 1024."""
        height, width = image.shape[1:3]
        factor = math.sqrt(megapixels * 1024 * 1024 / (width * height))
        width, height = (max(1, round(side * factor)) for side in (width, height))
        return (resize_images(image, width, height, upscale_method),)


class ResizeAndPadImage:
    """Scales pictures into a frame and fills the rest with black or white."""

    PACK = PACK
    CATEGORY = "image/transform"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "resize_and_pad"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        methods = choice(["area", "bicubic", "nearest-exact", "bilinear", "lanczos"])
        return {
            "required": {
                "image": socket("IMAGE"),
                "target_width": pixels(),
                "target_height": pixels(),
                "padding_color": choice(["white", "black"]),
                "interpolation": methods,
            }
        }

    def resize_and_pad(
        self, image: Image, target_width: int, target_height: int, padding_color: str, interpolation: str
    ) -> tuple[Image]:
        """Pictures of exactly the target size, the scaled ones in the middle."""
        batch, old_height, old_width, channels = image.shape
        width, height = fit_inside(old_width, old_height, target_width, target_height)
        fill = 1.0 if padding_color == "white" else 0.0
        frame = torch.full((batch, target_height, target_width, channels), fill, dtype=image.dtype)
        top, left = (target_height - height) // 2, (target_width - width) // 2
        frame[:, top : top + height, left : left + width] = resize_images(image, width, height, interpolation)
        return (frame,)


NODES = (
    ImageCrop,
    RepeatImageBatch,
    ImageFromBatch,
    ImageAddNoise,
    GetImageSize,
    ImageRotate,
    ImageFlip,
    ImageScaleToMaxDimension,
    ImageScaleToTotalPixels,
    ResizeAndPadImage,
)
