"""Nodes that find edges and shapes in pictures, turn their colours into YUV and put them side by side."""

import torch
from torch import Tensor
from torch.nn import functional

from executor.inference.filters import LUMA, canny, dilated, eroded
from executor.inference.pixels import repeat_to, resize_images
from executor.inference.values import Image
from nodes.builtin.inputs import InputTypes, choice, combo, decimal, flag, integer, socket

MORPHOLOGY_PACK = "comfy_extras.nodes_morphology"
IMAGE = ("IMAGE", dict[str, object]())
OPERATIONS = ["erode", "dilate", "open", "close", "gradient", "bottom_hat", "top_hat"]
COLOURS = {
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
}
# ITU-R BT.601: how much of B - Y and R - Y is kept
U_SCALE, V_SCALE = 0.564, 0.713


class Canny:
    """Draws the edges of pictures."""

    LISTING = "v3"
    PACK = "comfy_extras.nodes_canny"
    CATEGORY = "image/preprocessors"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "detect_edge"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        low, high = decimal(0.4, 0.01, 0.99), decimal(0.8, 0.01, 0.99)
        return {"required": {"image": IMAGE, "low_threshold": low, "high_threshold": high}}

    def detect_edge(self, image: Image, low_threshold: float, high_threshold: float) -> tuple[Image]:
        """White edges on black."""
        edges = canny(image.movedim(-1, 1), low_threshold, high_threshold)
        return (edges.movedim(1, -1).repeat(1, 1, 1, 3),)


class Morphology:
    """Widens, narrows and compares the bright parts of pictures."""

    DISPLAY_NAME = "ImageMorphology"
    LISTING = "v3"
    PACK = MORPHOLOGY_PACK
    CATEGORY = "image/postprocessing"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "process"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        size = integer(3, 3, 999, step=1)
        return {"required": {"image": IMAGE, "operation": combo(OPERATIONS), "kernel_size": size}}

    def process(self, image: Image, operation: str, kernel_size: int) -> tuple[Image]:
        """The operation with a square, for each channel on its own."""
        return (_morphed(image.movedim(-1, 1), operation, kernel_size).movedim(1, -1),)


def _morphed(samples: Tensor, operation: str, size: int) -> Tensor:
    match operation:
        case "erode":
            return eroded(samples, size)
        case "dilate":
            return dilated(samples, size)
        case "open":
            return dilated(eroded(samples, size), size)
        case "close":
            return eroded(dilated(samples, size), size)
        case "gradient":
            return dilated(samples, size) - eroded(samples, size)
        case "bottom_hat":
            return eroded(dilated(samples, size), size) - samples
        case _:
            return samples - dilated(eroded(samples, size), size)


class ImageRGBToYUV:
    """Splits pictures into brightness and two differences of colour."""

    LISTING = "v3"
    PACK = MORPHOLOGY_PACK
    CATEGORY = "image/batch"
    RETURN_TYPES = ("IMAGE", "IMAGE", "IMAGE")
    RETURN_NAMES = ("Y", "U", "V")
    FUNCTION = "execute"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"image": IMAGE}}

    def execute(self, image: Image) -> tuple[Image, Image, Image]:
        """Each part as a grey picture; no colour is a U and V of 0.5."""
        red, green, blue = image[..., :3].chunk(3, dim=-1)
        luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
        parts = (luma, (blue - luma) * U_SCALE + 0.5, (red - luma) * V_SCALE + 0.5)
        return parts[0].expand_as(image[..., :3]), parts[1].repeat(1, 1, 1, 3), parts[2].repeat(1, 1, 1, 3)


class ImageYUVToRGB:
    """Joins brightness and two differences of colour into pictures."""

    LISTING = "v3"
    PACK = MORPHOLOGY_PACK
    CATEGORY = "image/batch"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "execute"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"Y": IMAGE, "U": IMAGE, "V": IMAGE}}

    def execute(self, Y: Image, U: Image, V: Image) -> tuple[Image]:
        """The pictures, in 0..1; each part is the mean of its channels (the exact inverse, cut as kornia's)."""
        luma, u, v = (part.mean(dim=-1) for part in (Y, U - 0.5, V - 0.5))
        red, blue = luma + v / V_SCALE, luma + u / U_SCALE
        green = (luma - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
        return (torch.stack([red, green, blue], dim=-1).clamp(0.0, 1.0),)


class ImageStitch:
    """Puts a picture beside another."""

    DISPLAY_NAME = "Image Stitch"
    PACK = "comfy_extras.nodes_images"
    CATEGORY = "image/transform"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "stitch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "image1": socket("IMAGE"),
                "direction": choice(["right", "down", "left", "up"], default="right"),
                "match_image_size": flag(default=True),
                "spacing_width": integer(0, 0, 1024, step=2),
                "spacing_color": choice(list(COLOURS), default="white"),
            },
            "optional": {"image2": socket("IMAGE")},
        }

    def stitch(
        self,
        image1: Image,
        direction: str,
        match_image_size: bool,
        spacing_width: int,
        spacing_color: str,
        image2: Image | None = None,
    ) -> tuple[Image]:
        """`image2` on that side of `image1`, resized to its edge or with the shorter one centred on black."""
        if image2 is None:
            return (image1,)
        batch, channels = max(image1.shape[0], image2.shape[0]), max(image1.shape[-1], image2.shape[-1])
        pair = [_opaque(repeat_to(image, batch), channels) for image in (image1, image2)]
        edge = 1 if direction in ("right", "left") else 2  # the dimension that both share
        pair = [pair[0], _resized(pair[1], pair[0].shape[edge], edge)] if match_image_size else _centred(pair, edge)
        if direction in ("left", "up"):
            pair.reverse()
        if spacing_width:
            colour = pair[0].new_tensor((*COLOURS[spacing_color], 1.0)[:channels])
            shape = list(pair[0].shape)
            shape[3 - edge] = spacing_width
            pair.insert(1, colour.expand(shape))
        return (torch.cat(pair, dim=3 - edge),)


def _opaque(image: Image, channels: int) -> Image:
    return functional.pad(image, (0, channels - image.shape[-1]), value=1.0)


def _resized(image: Image, length: int, edge: int) -> Image:
    height, width = image.shape[1:3]
    if edge == 1:
        return resize_images(image, max(1, int(length * (width / height))), length, "lanczos")
    return resize_images(image, length, max(1, int(length / (width / height))), "lanczos")


def _centred(pair: list[Image], edge: int) -> list[Image]:
    length = max(image.shape[edge] for image in pair)
    return [_padded(image, length - image.shape[edge], edge) for image in pair]


def _padded(image: Image, missing: int, edge: int) -> Image:
    ends = (missing // 2, missing - missing // 2)
    return functional.pad(image, (0, 0, 0, 0, *ends) if edge == 1 else (0, 0, *ends))


NODES = (Canny, Morphology, ImageRGBToYUV, ImageYUVToRGB, ImageStitch)
