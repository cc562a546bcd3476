"""Nodes that calculate with whole latents and sort batches of them. Know neither models nor files."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from executor.errors import NodeInputError
from executor.inference.latent_masks import PICTURES, noise_mask_like
from executor.inference.pixels import common_upscale, repeat_to
from executor.inference.values import Image, Latent
from nodes.builtin.inputs import InputTypes, combo, decimal, integer, pixels
from nodes.builtin.latent import check_kind, check_length, check_sizes, with_samples

LATENT = ("LATENT", dict[str, object]())
PACK = "comfy_extras.nodes_latent"
DIMENSIONS = {"x": -1, "y": -2, "t": -3}


def fitted(samples: Tensor, like: Tensor) -> Tensor:
    """Samples scaled to the size of `like`, its batch repeated or cut to the same length.

    Raises NodeInputError for latents of another kind of model.
    """
    check_kind(like, samples)
    return repeat_to(sized(samples, like), like.shape[0])


def sized(samples: Tensor, like: Tensor) -> Tensor:
    """Samples scaled to the size of `like`; NodeInputError for videos of another length."""
    if samples.shape[1:] != like.shape[1:]:
        samples = common_upscale(samples, like.shape[-1], like.shape[-2], "bilinear", "center")
    check_length(like, samples)
    return samples


class _OfTwo:
    """What nodes that join two latents have in common."""

    LISTING = "v3"
    PACK = PACK
    CATEGORY = "latent/advanced"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"samples1": LATENT, "samples2": LATENT}}


class LatentAdd(_OfTwo):
    """Adds latents."""

    FUNCTION = "add"

    def add(self, samples1: Latent, samples2: Latent) -> tuple[Latent]:
        """The sum, of the first one's size."""
        first = samples1["samples"]
        return (with_samples(samples1, first + fitted(samples2["samples"], first)),)


class LatentSubtract(_OfTwo):
    """Subtracts latents."""

    FUNCTION = "subtract"

    def subtract(self, samples1: Latent, samples2: Latent) -> tuple[Latent]:
        """The difference, of the first one's size."""
        first = samples1["samples"]
        return (with_samples(samples1, first - fitted(samples2["samples"], first)),)


class LatentMultiply:
    """Multiplies latents by a number."""

    LISTING = "v3"
    PACK = PACK
    CATEGORY = "latent/advanced"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "multiply"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"samples": LATENT, "multiplier": decimal(1.0, -10.0, 10.0)}}

    def multiply(self, samples: Latent, multiplier: float) -> tuple[Latent]:
        """The product."""
        return (with_samples(samples, samples["samples"] * multiplier),)


class LatentInterpolate(_OfTwo):
    """Goes from one latent to another, by direction and length."""

    FUNCTION = "interpolate"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"samples1": LATENT, "samples2": LATENT, "ratio": decimal(1.0, 0.0, 1.0)}}

    def interpolate(self, samples1: Latent, samples2: Latent, ratio: float) -> tuple[Latent]:
        """`ratio` of the first and the rest of the second: directions mixed and made as long as the mix of lengths."""
        first = samples1["samples"]
        second = fitted(samples2["samples"], first)
        length1, length2 = (part.norm(dim=1, keepdim=True) for part in (first, second))
        mixed = torch.nan_to_num(first / length1) * ratio + torch.nan_to_num(second / length2) * (1.0 - ratio)
        direction = torch.nan_to_num(mixed / mixed.norm(dim=1, keepdim=True))
        return (with_samples(samples1, direction * (length1 * ratio + length2 * (1.0 - ratio))),)


class LatentConcat(_OfTwo):
    """Puts latents side by side."""

    FUNCTION = "concat"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        ways = combo(["x", "-x", "y", "-y", "t", "-t"])
        return {"required": {"samples1": LATENT, "samples2": LATENT, "dim": ways}}

    def concat(self, samples1: Latent, samples2: Latent, dim: str) -> tuple[Latent]:
        """Along x, y or time; with a minus the second one comes first."""
        first = samples1["samples"]
        axis = DIMENSIONS[dim[-1]]
        check_kind(first, samples2["samples"])
        check_sizes(first, samples2["samples"], axis)
        parts = [first, repeat_to(samples2["samples"], first.shape[0])]
        if dim.startswith("-"):
            parts.reverse()
        return (with_samples(samples1, torch.cat(parts, dim=axis)),)


class LatentCut:
    """Cuts a strip out of latents."""

    LISTING = "v3"
    PACK = PACK
    CATEGORY = "latent/advanced"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "cut"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        index = integer(0, -16384, 16384, step=1)
        return {"required": {"samples": LATENT, "dim": combo(["x", "y", "t"]), "index": index, "amount": pixels(1)}}

    def cut(self, samples: Latent, dim: str, index: int, amount: int) -> tuple[Latent]:
        """`amount` latent cells from `index` on (from the end if negative), as far as there are so many."""
        old, axis = samples["samples"], DIMENSIONS[dim]
        size = old.shape[axis]
        start = min(index, size - 1) if index >= 0 else max(index + size, 0)
        return (with_samples(samples, old.narrow(axis, start, min(amount, size - start))),)


class LatentBatch(_OfTwo):
    """Puts two batches of latents together."""

    CATEGORY = "latent/batch"
    FUNCTION = "batch"

    def batch(self, samples1: Latent, samples2: Latent) -> tuple[Latent]:
        """The first latents, then the second ones scaled to their size; all keep their noise."""
        first, second = samples1["samples"], samples2["samples"]
        check_kind(first, second)
        joined = with_samples(samples1, torch.cat((first, sized(second, first)), dim=0))
        joined["batch_index"] = [
            *(samples1.get("batch_index") or range(first.shape[0])),
            *(samples2.get("batch_index") or range(second.shape[0])),
        ]
        return (joined,)


class LatentBatchSeedBehavior:
    """Chooses whether the latents of a batch share their noise."""

    LISTING = "v3"
    PACK = PACK
    CATEGORY = "latent/advanced"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "choose"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"samples": LATENT, "seed_behavior": combo(["random", "fixed"], default="fixed")}}

    def choose(self, samples: Latent, seed_behavior: str) -> tuple[Latent]:
        """`fixed`: all get the first one's noise; `random`: each its own."""
        result = samples.copy()
        if seed_behavior == "random":
            result.pop("batch_index", None)
        else:
            first = (samples.get("batch_index") or [0])[0]
            result["batch_index"] = [first] * samples["samples"].shape[0]
        return (result,)


class RebatchLatents:
    """Sorts latents into batches of another size."""

    LISTING = "v3"
    PACK = "comfy_extras.nodes_rebatch"
    DISPLAY_NAME = "Rebatch Latents"
    CATEGORY = "latent/batch"
    INPUT_IS_LIST = True
    RETURN_TYPES = ("LATENT",)
    OUTPUT_IS_LIST = (True,)
    FUNCTION = "rebatch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"latents": LATENT, "batch_size": integer(1, 1, 4096)}}

    def rebatch(self, latents: list[Latent], batch_size: list[int]) -> tuple[list[Latent]]:
        """Batches in the given order; latents of another size begin a new batch, all keep their noise."""
        batches: list[Latent] = []
        group: list[Latent] = []
        for item in _single_latents(latents):
            full = len(group) == batch_size[0]
            if group and (full or group[0]["samples"].shape != item["samples"].shape):
                batches.append(_joined(group))
                group = []
            group.append(item)
        return ([*batches, _joined(group)] if group else batches,)


def _single_latents(latents: list[Latent]) -> Iterator[Latent]:
    """Every latent of every batch by itself, with its number and its mask."""
    first = 0
    for latent in latents:
        samples = latent["samples"]
        count = samples.shape[0]
        numbers = latent.get("batch_index") or range(first, first + count)
        masks = latent.get("noise_mask")
        if masks is not None and samples.ndim > PICTURES:
            masks = noise_mask_like(masks, samples.shape)
        elif masks is not None:
            masks = repeat_to(masks.reshape(-1, 1, *masks.shape[-2:]), count)
        for index, number in enumerate(numbers):
            single: Latent = {"samples": samples[index : index + 1], "batch_index": [number]}
            if masks is not None:
                single["noise_mask"] = masks[index : index + 1]
            yield single
        first += count


def _joined(group: list[Latent]) -> Latent:
    """One batch; where some have masks the others get one that lets everything change."""
    batch: Latent = {
        "samples": torch.cat([item["samples"] for item in group]),
        "batch_index": [number for item in group for number in item["batch_index"]],
    }
    size = next((item["noise_mask"].shape[2:] for item in group if "noise_mask" in item), None)
    if size is not None:
        whole = torch.ones(1, 1, *size)
        masks = (item.get("noise_mask", whole) for item in group)
        batch["noise_mask"] = torch.cat(
            [mask if mask.shape[2:] == size else functional.interpolate(mask, size, mode="bilinear") for mask in masks]
        )
    return batch


class RebatchImages:
    """Sorts pictures into batches of another size."""

    LISTING = "v3"
    PACK = "comfy_extras.nodes_rebatch"
    DISPLAY_NAME = "Rebatch Images"
    CATEGORY = "image/batch"
    INPUT_IS_LIST = True
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_IS_LIST = (True,)
    FUNCTION = "rebatch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"images": ("IMAGE", {}), "batch_size": integer(1, 1, 4096)}}

    def rebatch(self, images: list[Image], batch_size: list[int]) -> tuple[list[Image]]:
        """Batches in the given order; NodeInputError when pictures of different sizes meet in one."""
        singles = [image[index : index + 1] for image in images for index in range(image.shape[0])]
        size = batch_size[0]
        for start in range(0, len(singles), size):
            sizes = sorted({tuple(single.shape[1:]) for single in singles[start : start + size]})
            if len(sizes) > 1:
                reason = f"pictures of {sizes[0]} and {sizes[1]} (height, width, channels) cannot be in one batch"
                raise NodeInputError(f"input 'images': {reason}; scale them to one size first, or take batches of 1")
        return ([torch.cat(singles[start : start + size]) for start in range(0, len(singles), size)],)


NODES = (
    LatentAdd,
    LatentSubtract,
    LatentMultiply,
    LatentInterpolate,
    LatentConcat,
    LatentCut,
    LatentBatch,
    LatentBatchSeedBehavior,
    RebatchLatents,
    RebatchImages,
)
