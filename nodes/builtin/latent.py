"""Nodes that make, cut, turn, scale and join latents. Know neither models nor files."""

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.devices import refuse_unless_fits
from executor.inference.pixels import common_upscale, edge_fade, repeat_to
from executor.inference.values import Latent, Mask
from nodes.builtin.inputs import (
    CROP_METHODS,
    LATENT_RESIZE_METHODS,
    InputTypes,
    choice,
    decimal,
    integer,
    pixels,
    socket,
)

CELL = 8  # pixels per latent cell


def with_samples(latent: Latent, samples: Tensor) -> Latent:
    """The same latent with other samples."""
    changed = latent.copy()
    changed["samples"] = samples
    return changed


def check_kind(first: Tensor, second: Tensor) -> None:
    """NodeInputError for latents of two kinds of models, which cannot be joined."""
    if first.ndim != second.ndim or first.shape[1] != second.shape[1]:
        shapes = f"{list(first.shape)} and {list(second.shape)}"
        raise NodeInputError(
            f"these latents have the shapes {shapes}: they come from models of different kinds and cannot be joined. "
            "Decode one to a picture and encode that with the other model's VAE"
        )


def check_length(first: Tensor, second: Tensor) -> None:
    """NodeInputError for latents of videos that are of different lengths."""
    if first.shape[2:-2] != second.shape[2:-2]:
        frames = f"{first.shape[2]} and {second.shape[2]}"
        raise NodeInputError(f"these latents are of videos of {frames} latent frames, which cannot be joined")


def check_sizes(first: Tensor, second: Tensor, besides: int) -> None:
    """NodeInputError for latents of one kind whose sizes differ along another dimension than the batch and `besides`.

    `besides` counts from the end.
    """
    others = [dim for dim in range(2, first.ndim) if dim - first.ndim != besides]
    if any(first.shape[dim] != second.shape[dim] for dim in others):
        shapes = f"{list(first.shape)} and {list(second.shape)}"
        raise NodeInputError(f"these latents have the shapes {shapes}: cut or scale one to the size of the other first")


def check_cells(samples: Tensor) -> None:
    """NodeInputError for latents of sounds where those of pictures or videos are needed."""
    if samples.ndim < 4:
        shape = list(samples.shape)
        raise NodeInputError(f"these latents have the shape {shape}; this node works on pictures' latents")


def empty(*shape: int) -> Latent:
    """Zeros of a shape; NodeInputError when there is no memory for them."""
    refuse_unless_fits(shape, f"a latent of {list(shape)}")
    return {"samples": torch.zeros(shape)}


class EmptyLatentImage:
    """A latent of zeros, the canvas of text to image."""

    DISPLAY_NAME = "Empty Latent Image"
    CATEGORY = "latent"
    DESCRIPTION = "Makes an empty canvas of latents, to be filled by sampling."
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("Latents of zeros.",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "width": pixels(512, 16, 8, tooltip="Width of the picture in pixels."),
                "height": pixels(512, 16, 8, tooltip="Height of the picture in pixels."),
                "batch_size": integer(1, 1, 4096, tooltip="How many pictures."),
            }
        }

    def generate(self, width: int, height: int, batch_size: int = 1) -> tuple[Latent]:
        """Zeros [batch, 4, height / 8, width / 8]; NodeInputError when there is no memory for them."""
        return (empty(batch_size, 4, height // CELL, width // CELL),)


class EmptySD3LatentImage:
    """A latent of zeros with sixteen channels."""

    LISTING = "v3"
    PACK = "comfy_extras.nodes_sd3"
    CATEGORY = "latent/sd3"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        size = pixels(1024, 16, 16)
        return {"required": {"width": size, "height": size, "batch_size": integer(1, 1, 4096)}}

    def generate(self, width: int, height: int, batch_size: int = 1) -> tuple[Latent]:
        """Zeros [batch, 16, height / 8, width / 8]; NodeInputError when there is no memory for them."""
        return (empty(batch_size, 16, height // CELL, width // CELL),)


class EmptyHunyuanLatentVideo:
    """A latent of zeros for a video, four pictures to a latent one but for the first."""

    PACK = "comfy_extras.nodes_hunyuan"
    CATEGORY = "latent/video"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "width": pixels(848, 16, 16),
                "height": pixels(480, 16, 16),
                "length": pixels(25, 1, 4),
                "batch_size": integer(1, 1, 4096),
            }
        }

    def generate(self, width: int, height: int, length: int, batch_size: int = 1) -> tuple[Latent]:
        """Zeros [batch, 16, 1 + (length - 1) / 4, height / 8, width / 8]; NodeInputError without memory for them."""
        return (empty(batch_size, 16, 1 + (length - 1) // 4, height // CELL, width // CELL),)


class LatentUpscale:
    """Scales latents to a size in pixels."""

    DISPLAY_NAME = "Upscale Latent"
    CATEGORY = "latent"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "samples": socket("LATENT"),
                "upscale_method": choice(LATENT_RESIZE_METHODS),
                "width": pixels(512, 0, 8),
                "height": pixels(512, 0, 8),
                "crop": choice(CROP_METHODS),
            }
        }

    def upscale(self, samples: Latent, upscale_method: str, width: int, height: int, crop: str) -> tuple[Latent]:
        """Scaled latents; a width or height of 0 follows the other one, both 0 leave them as they are."""
        if width == 0 and height == 0:
            return (samples,)
        old = samples["samples"]
        old_height, old_width = old.shape[-2:]
        if width == 0:
            height = max(64, height)
            width = max(64, round(old_width * height / old_height))
        elif height == 0:
            width = max(64, width)
            height = max(64, round(old_height * width / old_width))
        else:
            width, height = max(64, width), max(64, height)
        return (with_samples(samples, common_upscale(old, width // CELL, height // CELL, upscale_method, crop)),)


class LatentUpscaleBy:
    """Scales latents by a factor."""

    DISPLAY_NAME = "Upscale Latent By"
    CATEGORY = "latent"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "samples": socket("LATENT"),
                "upscale_method": choice(LATENT_RESIZE_METHODS),
                "scale_by": decimal(1.5, 0.01, 8.0),
            }
        }

    def upscale(self, samples: Latent, upscale_method: str, scale_by: float) -> tuple[Latent]:
        """Scaled latents."""
        old = samples["samples"]
        width, height = (max(1, round(side * scale_by)) for side in (old.shape[-1], old.shape[-2]))
        return (with_samples(samples, common_upscale(old, width, height, upscale_method, "disabled")),)


class LatentRotate:
    """Turns latents by quarter turns."""

    DISPLAY_NAME = "Rotate Latent"
    CATEGORY = "latent/transform"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "rotate"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        turns = choice(["none", "90 degrees", "180 degrees", "270 degrees"])
        return {"required": {"samples": socket("LATENT"), "rotation": turns}}

    def rotate(self, samples: Latent, rotation: str) -> tuple[Latent]:
        """Latents turned clockwise."""
        turns = {"90": 1, "180": 2, "270": 3}.get(rotation.split(" ")[0], 0)
        check_cells(samples["samples"])
        return (with_samples(samples, torch.rot90(samples["samples"], k=turns, dims=[-1, -2])),)


class LatentFlip:
    """Mirrors latents."""

    DISPLAY_NAME = "Flip Latent"
    CATEGORY = "latent/transform"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "flip"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        ways = choice(["x-axis: vertically", "y-axis: horizontally"])
        return {"required": {"samples": socket("LATENT"), "flip_method": ways}}

    def flip(self, samples: Latent, flip_method: str) -> tuple[Latent]:
        """Latents mirrored top to bottom or left to right."""
        dim = -2 if flip_method.startswith("x") else -1
        check_cells(samples["samples"])
        return (with_samples(samples, torch.flip(samples["samples"], dims=[dim])),)


class LatentCrop:
    """Cuts a rectangle out of latents."""

    DISPLAY_NAME = "Crop Latent"
    CATEGORY = "latent/transform"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "crop"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "samples": socket("LATENT"),
                "width": pixels(512, 64, 8),
                "height": pixels(512, 64, 8),
                "x": pixels(0, 0, 8),
                "y": pixels(0, 0, 8),
            }
        }

    def crop(self, samples: Latent, width: int, height: int, x: int, y: int) -> tuple[Latent]:
        """The rectangle, moved inside so that at least 64 pixels are left from its corner on."""
        old = samples["samples"]
        check_cells(old)
        rows, columns = old.shape[-2:]
        left, top = min(x // CELL, columns - CELL), min(y // CELL, rows - CELL)
        return (with_samples(samples, old[..., top : top + height // CELL, left : left + width // CELL]),)


class LatentComposite:
    """Pastes latents into others, with a soft edge."""

    DISPLAY_NAME = "Latent Composite"
    CATEGORY = "latent"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "composite"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "samples_to": socket("LATENT"),
                "samples_from": socket("LATENT"),
                "x": pixels(0, 0, 8),
                "y": pixels(0, 0, 8),
                "feather": pixels(0, 0, 8),
            }
        }

    def composite(
        self,
        samples_to: Latent,
        samples_from: Latent,
        x: int,
        y: int,
        composite_method: str = "normal",
        feather: int = 0,
    ) -> tuple[Latent]:
        """`samples_from` at (x, y); edges inside the target fade over `feather` pixels."""
        x, y, feather = x // CELL, y // CELL, feather // CELL
        target, source = samples_to["samples"].clone(), samples_from["samples"]
        check_kind(target, source)
        check_cells(target)
        check_length(target, source)
        rows, columns = target.shape[-2:]
        source = source[..., : max(0, rows - y), : max(0, columns - x)]
        height, width = source.shape[-2:]
        inner = (x > 0, y > 0, x + width < columns, y + height < rows)
        fade = edge_fade(height, width, *(feather if inside else 0 for inside in inner)).to(target)
        place = target[..., y : y + height, x : x + width]
        target[..., y : y + height, x : x + width] = source * fade + place * (1.0 - fade)
        return (with_samples(samples_to, target),)


class LatentBlend:
    """Mixes two latents."""

    DISPLAY_NAME = "Latent Blend"
    CATEGORY = "_for_testing"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "blend"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        factor = decimal(0.5, 0, 1)
        return {"required": {"samples1": socket("LATENT"), "samples2": socket("LATENT"), "blend_factor": factor}}

    def blend(
        self, samples1: Latent, samples2: Latent, blend_factor: float, blend_mode: str = "normal"
    ) -> tuple[Latent]:
        """`blend_factor` of the first and the rest of the second, which is scaled to the first's size."""
        first, second = samples1["samples"], samples2["samples"]
        check_kind(first, second)
        if first.shape != second.shape:
            second = common_upscale(second, first.shape[-1], first.shape[-2], "bicubic", "center")
        check_length(first, second)
        return (with_samples(samples1, first * blend_factor + second * (1 - blend_factor)),)


class LatentFromBatch:
    """Takes a part of a batch of latents."""

    DISPLAY_NAME = "Latent From Batch"
    CATEGORY = "latent/batch"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "frombatch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        part = {"batch_index": integer(0, 0, 63), "length": integer(1, 1, 64)}
        return {"required": {"samples": socket("LATENT"), **part}}

    def frombatch(self, samples: Latent, batch_index: int, length: int) -> tuple[Latent]:
        """`length` latents from `batch_index` on, as far as there are so many; they keep their noise."""
        old = samples["samples"]
        start = min(old.shape[0] - 1, batch_index)
        end = start + min(old.shape[0] - start, length)
        part = with_samples(samples, old[start:end].clone())
        if "noise_mask" in samples:
            masks = samples["noise_mask"]
            if masks.shape[0] == 1 or holds_for_all(masks, old):
                part["noise_mask"] = masks.clone()
            else:
                part["noise_mask"] = repeat_to(masks, old.shape[0])[start:end].clone()
        indices = samples.get("batch_index") or list(range(old.shape[0]))
        part["batch_index"] = indices[start:end]
        return (part,)


class RepeatLatentBatch:
    """Repeats a batch of latents."""

    DISPLAY_NAME = "Repeat Latent Batch"
    CATEGORY = "latent/batch"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "repeat"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"samples": socket("LATENT"), "amount": integer(1, 1, 64)}}

    def repeat(self, samples: Latent, amount: int) -> tuple[Latent]:
        """The batch `amount` times; every repetition gets noise of its own."""
        old = samples["samples"]
        refuse_unless_fits((amount, *old.shape), f"{amount} times latents of {list(old.shape)}")
        result = with_samples(samples, _tiled(old, amount))
        mask = samples.get("noise_mask")
        if mask is not None and mask.shape[0] > 1 and not holds_for_all(mask, old):
            result["noise_mask"] = _tiled(repeat_to(mask, old.shape[0]), amount)
        if "batch_index" in samples:
            indices = samples["batch_index"]
            span = max(indices) - min(indices) + 1
            result["batch_index"] = [index + span * turn for turn in range(amount) for index in indices]
        return (result,)


def holds_for_all(mask: Tensor, samples: Tensor) -> bool:
    """Whether the rows of a noise mask are frames of each video, and not one for each of the latents."""
    return mask.ndim < samples.ndim == 5


def _tiled(tensor: Tensor, amount: int) -> Tensor:
    return tensor.repeat(amount, *[1] * (tensor.ndim - 1))


class SetLatentNoiseMask:
    """Marks where sampling may change the latents."""

    DISPLAY_NAME = "Set Latent Noise Mask"
    CATEGORY = "latent/inpaint"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "set_mask"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"samples": socket("LATENT"), "mask": socket("MASK")}}

    def set_mask(self, samples: Latent, mask: Mask) -> tuple[Latent]:
        """The latents with a mask [B, 1, H, W] in pixels."""
        masked = samples.copy()
        masked["noise_mask"] = mask.reshape(-1, 1, mask.shape[-2], mask.shape[-1])
        return (masked,)


NODES = (
    EmptyLatentImage,
    EmptySD3LatentImage,
    EmptyHunyuanLatentVideo,
    LatentUpscale,
    LatentUpscaleBy,
    LatentRotate,
    LatentFlip,
    LatentCrop,
    LatentComposite,
    LatentBlend,
    LatentFromBatch,
    RepeatLatentBatch,
    SetLatentNoiseMask,
)
