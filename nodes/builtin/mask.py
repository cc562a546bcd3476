"""Nodes that make masks and turn them into pictures and back. Know no files and no models."""

import torch

from executor.inference.values import Image, Mask
from nodes.builtin.image_io import PreviewImage, Shown
from nodes.builtin.inputs import PNG_HIDDEN, InputTypes, choice, decimal, integer, pixels, socket

PACK = "comfy_extras.nodes_mask"
CHANNELS = ("red", "green", "blue", "alpha")


class MaskToImage:
    """Shows a mask as a grey picture."""

    DISPLAY_NAME = "Convert Mask to Image"
    PACK = PACK
    CATEGORY = "mask"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "mask_to_image"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"mask": socket("MASK")}}

    def mask_to_image(self, mask: Mask) -> tuple[Image]:
        """The mask as all three colours."""
        return (mask.reshape(-1, *mask.shape[-2:], 1).expand(-1, -1, -1, 3),)


class ImageToMask:
    """Takes one channel of pictures as a mask."""

    DISPLAY_NAME = "Convert Image to Mask"
    PACK = PACK
    CATEGORY = "mask"
    RETURN_TYPES = ("MASK",)
    FUNCTION = "image_to_mask"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"image": socket("IMAGE"), "channel": choice(CHANNELS)}}

    def image_to_mask(self, image: Image, channel: str) -> tuple[Mask]:
        """The channel as it is; ValueError when the pictures lack it."""
        index = CHANNELS.index(channel)
        if index >= image.shape[-1]:
            raise ValueError(f"input 'channel': the picture has {image.shape[-1]} channels and no {channel} one")
        return (image[..., index],)


class ImageColorToMask:
    """Marks the pixels of one colour."""

    PACK = PACK
    CATEGORY = "mask"
    RETURN_TYPES = ("MASK",)
    FUNCTION = "image_to_mask"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        color = integer(0, 0, 0xFFFFFF, step=1, display="color")
        return {"required": {"image": socket("IMAGE"), "color": color}}

    def image_to_mask(self, image: Image, color: int) -> tuple[Mask]:
        """1 where the 8-bit colour is 0xRRGGBB, else 0."""
        levels = (image[..., :3].clamp(0, 1.0) * 255.0).round().to(torch.int)
        wanted = torch.tensor([color >> shift & 0xFF for shift in (16, 8, 0)], dtype=torch.int, device=image.device)
        return ((levels == wanted).all(dim=-1).float(),)


class SolidMask:
    """A mask of one value."""

    PACK = PACK
    CATEGORY = "mask"
    RETURN_TYPES = ("MASK",)
    FUNCTION = "solid"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"value": decimal(1.0, 0.0, 1.0), "width": pixels(), "height": pixels()}}

    def solid(self, value: float, width: int, height: int) -> tuple[Mask]:
        """The mask [1, height, width]."""
        return (torch.full((1, height, width), value, dtype=torch.float32),)


class InvertMask:
    """Turns a mask over."""

    PACK = PACK
    CATEGORY = "mask"
    RETURN_TYPES = ("MASK",)
    FUNCTION = "invert"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"mask": socket("MASK")}}

    def invert(self, mask: Mask) -> tuple[Mask]:
        """One minus the mask."""
        return (1.0 - mask,)


class ThresholdMask:
    """Rounds a mask up or down at a value."""

    PACK = PACK
    CATEGORY = "mask"
    RETURN_TYPES = ("MASK",)
    FUNCTION = "image_to_mask"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"mask": socket("MASK"), "value": decimal(0.5, 0.0, 1.0)}}

    def image_to_mask(self, mask: Mask, value: float) -> tuple[Mask]:
        """1 above the value, else 0."""
        return ((mask > value).float(),)


class MaskPreview(PreviewImage):
    """Shows a mask, which is kept in the temp folder."""

    DISPLAY_NAME = "MaskPreview"
    PACK = PACK
    CATEGORY = "mask"
    DESCRIPTION = "Shows a mask without keeping it."
    FUNCTION = "execute"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"mask": socket("MASK")}, "hidden": dict(PNG_HIDDEN)}

    def execute(
        self,
        mask: Mask,
        filename_prefix: str = "ComfyUI",
        prompt: object = None,
        extra_pnginfo: dict[str, object] | None = None,
    ) -> Shown:
        """Write the mask as a grey picture and show it."""
        (image,) = MaskToImage().mask_to_image(mask)
        return self.save_images(image, filename_prefix, prompt, extra_pnginfo)


NODES = (MaskToImage, ImageToMask, ImageColorToMask, SolidMask, InvertMask, ThresholdMask, MaskPreview)
