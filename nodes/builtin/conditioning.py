"""Nodes that make conditioning from text and attach places, strengths and times to it. Know no sampling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.values import Condition, Conditioning, Mask
from nodes.builtin.inputs import InputTypes, choice, decimal, held, integer, pixels, socket, text

if TYPE_CHECKING:
    from executor.inference.text.clip import Clip

Options = dict[str, object]


def entries(conditioning: Conditioning) -> Iterator[tuple[Tensor, Options]]:
    """The pairs of embedding and options, typed as such."""
    for tensor, options in conditioning:
        yield cast(Tensor, tensor), cast(Options, options)


def packed(pairs: Iterable[tuple[Tensor, Options]]) -> Conditioning:
    """Conditioning of pairs: lists, because packs assign to their places."""
    return [[tensor, cast(Condition, options)] for tensor, options in pairs]


def first_entry(conditioning_from: Conditioning) -> tuple[Tensor, Options]:
    """The entry that is mixed into others; NodeInputError where there is none."""
    found = next(entries(conditioning_from), None)
    if found is None:
        raise NodeInputError("input 'conditioning_from' is empty: it holds no text")
    return found


def check_mixable(to: Tensor, other: Tensor) -> None:
    """NodeInputError for texts [B, T, C] of two families of models, or of unlike numbers neither of which is one."""
    if to.shape[-1] != other.shape[-1]:
        widths = f"'conditioning_to' has width {to.shape[-1]} and 'conditioning_from' {other.shape[-1]}"
        raise NodeInputError(f"{widths}: they come from text encoders of different models. Encode both with the same")
    if to.shape[0] != other.shape[0] and 1 not in (to.shape[0], other.shape[0]):
        counts = f"'conditioning_to' is for {to.shape[0]} latents and 'conditioning_from' for {other.shape[0]}"
        raise NodeInputError(f"{counts}: they cannot be mixed; one for all, or one for each, can")


def with_values(conditioning: Conditioning, values: Options) -> Conditioning:
    """The same conditioning with more options on every entry; the given one stays as it is."""
    return packed((tensor, {**options, **values}) for tensor, options in entries(conditioning))


class CLIPTextEncode:
    """Turns a text into conditioning."""

    DISPLAY_NAME = "CLIP Text Encode (Prompt)"
    CATEGORY = "conditioning"
    DESCRIPTION = "Reads a text with a text model, giving what guides the picture towards it."
    RETURN_TYPES = ("CONDITIONING",)
    OUTPUT_TOOLTIPS = ("What the text asks for, as the diffusion model understands it.",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        written = text(multiline=True, dynamicPrompts=True, tooltip="What the picture should show.")
        return {"required": {"text": written, "clip": socket("CLIP", "The text model that reads it.")}}

    def encode(self, clip: Clip | None, text: str) -> tuple[Conditioning]:
        """Encode the text; NodeInputError when the checkpoint brought no text model."""
        return (held(clip, "clip", "CLIP").encode(text),)


class CLIPSetLastLayer:
    """Takes the text model's answer from an earlier layer (clip skip)."""

    DISPLAY_NAME = "CLIP Set Last Layer"
    CATEGORY = "conditioning"
    RETURN_TYPES = ("CLIP",)
    FUNCTION = "set_last_layer"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"clip": socket("CLIP"), "stop_at_clip_layer": integer(-1, -24, -1, step=1)}}

    def set_last_layer(self, clip: Clip | None, stop_at_clip_layer: int) -> tuple[Clip]:
        """A copy that stops at that layer, counted from the end (-1: the last)."""
        return (held(clip, "clip", "CLIP").clone().clip_layer(stop_at_clip_layer),)


class ConditioningCombine:
    """Lets two conditionings act side by side."""

    DISPLAY_NAME = "Conditioning (Combine)"
    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "combine"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"conditioning_1": socket("CONDITIONING"), "conditioning_2": socket("CONDITIONING")}}

    def combine(self, conditioning_1: Conditioning, conditioning_2: Conditioning) -> tuple[Conditioning]:
        """Both lists, one after the other."""
        return (conditioning_1 + conditioning_2,)


class ConditioningAverage:
    """Mixes the numbers of two conditionings."""

    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "addWeighted"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "conditioning_to": socket("CONDITIONING"),
                "conditioning_from": socket("CONDITIONING"),
                "conditioning_to_strength": decimal(1.0, 0.0, 1.0),
            }
        }

    def addWeighted(
        self, conditioning_to: Conditioning, conditioning_from: Conditioning, conditioning_to_strength: float
    ) -> tuple[Conditioning]:
        """Every entry of `to`, mixed with the first entry of `from`."""
        other, other_options = first_entry(conditioning_from)
        other_pooled = other_options.get("pooled_output")
        mixed: list[tuple[Tensor, Options]] = []
        for tensor, options in entries(conditioning_to):
            result = options.copy()
            check_mixable(tensor, other)
            pooled = options.get("pooled_output", other_pooled)
            if isinstance(pooled, Tensor) and isinstance(other_pooled, Tensor):
                pooled = _mix(pooled, other_pooled, conditioning_to_strength)
            if pooled is not None:
                result["pooled_output"] = pooled
            mixed.append((_mix(tensor, _tokens_like(other, tensor), conditioning_to_strength), result))
        return (packed(mixed),)


def _mix(to: Tensor, other: Tensor, strength: float) -> Tensor:
    return to * strength + other * (1.0 - strength)


def _tokens_like(tensor: Tensor, like: Tensor) -> Tensor:
    """[B, T, C] cut, or filled with zeros, to as many tokens as `like` has."""
    count = like.shape[1]
    cut = tensor[:, :count]
    missing = count - cut.shape[1]
    return torch.cat([cut, cut.new_zeros(cut.shape[0], missing, *cut.shape[2:])], dim=1) if missing else cut


class ConditioningConcat:
    """Appends one text's tokens to another's."""

    DISPLAY_NAME = "Conditioning (Concat)"
    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "concat"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"conditioning_to": socket("CONDITIONING"), "conditioning_from": socket("CONDITIONING")}}

    def concat(self, conditioning_to: Conditioning, conditioning_from: Conditioning) -> tuple[Conditioning]:
        """Every entry of `to` with the tokens of `from`'s first entry behind its own."""
        tail, _ = first_entry(conditioning_from)
        joined: list[tuple[Tensor, Options]] = []
        for tensor, options in entries(conditioning_to):
            check_mixable(tensor, tail)
            batch = max(tensor.shape[0], tail.shape[0])
            parts = [part.expand(batch, -1, -1) for part in (tensor, tail)]
            joined.append((torch.cat(parts, dim=1), options.copy()))
        return (packed(joined),)


class ConditioningSetArea:
    """Limits conditioning to a rectangle in pixels."""

    DISPLAY_NAME = "Conditioning (Set Area)"
    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "conditioning": socket("CONDITIONING"),
                "width": pixels(64, 64, 8),
                "height": pixels(64, 64, 8),
                "x": pixels(0, 0, 8),
                "y": pixels(0, 0, 8),
                "strength": decimal(1.0, 0.0, 10.0),
            }
        }

    def append(
        self, conditioning: Conditioning, width: int, height: int, x: int, y: int, strength: float
    ) -> tuple[Conditioning]:
        """The area is kept in latent pixels: height, width, y, x."""
        area = (height // 8, width // 8, y // 8, x // 8)
        return (with_values(conditioning, {"area": area, "strength": strength, "set_area_to_bounds": False}),)


class ConditioningSetAreaPercentage:
    """Limits conditioning to a rectangle in parts of the picture."""

    DISPLAY_NAME = "Conditioning (Set Area with Percentage)"
    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "conditioning": socket("CONDITIONING"),
                "width": decimal(1.0, 0, 1.0),
                "height": decimal(1.0, 0, 1.0),
                "x": decimal(0, 0, 1.0),
                "y": decimal(0, 0, 1.0),
                "strength": decimal(1.0, 0.0, 10.0),
            }
        }

    def append(
        self, conditioning: Conditioning, width: float, height: float, x: float, y: float, strength: float
    ) -> tuple[Conditioning]:
        """The area is kept as parts of the picture: height, width, y, x."""
        area = ("percentage", height, width, y, x)
        return (with_values(conditioning, {"area": area, "strength": strength, "set_area_to_bounds": False}),)


class ConditioningSetAreaStrength:
    """Sets how strongly conditioning counts where several overlap."""

    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"conditioning": socket("CONDITIONING"), "strength": decimal(1.0, 0.0, 10.0)}}

    def append(self, conditioning: Conditioning, strength: float) -> tuple[Conditioning]:
        """The same conditioning with that strength."""
        return (with_values(conditioning, {"strength": strength}),)


class ConditioningSetMask:
    """Limits conditioning to a mask."""

    DISPLAY_NAME = "Conditioning (Set Mask)"
    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "conditioning": socket("CONDITIONING"),
                "mask": socket("MASK"),
                "strength": decimal(1.0, 0.0, 10.0),
                "set_cond_area": choice(["default", "mask bounds"]),
            }
        }

    def append(
        self, conditioning: Conditioning, mask: Mask, set_cond_area: str, strength: float
    ) -> tuple[Conditioning]:
        """`mask bounds` also limits the computed area to the smallest rectangle around the mask."""
        values: Options = {
            "mask": mask if mask.ndim > 2 else mask.unsqueeze(0),
            "set_area_to_bounds": set_cond_area != "default",
            "mask_strength": strength,
        }
        return (with_values(conditioning, values),)


class ConditioningSetTimestepRange:
    """Limits conditioning to a part of the sampling."""

    CATEGORY = "advanced/conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "set_range"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "conditioning": socket("CONDITIONING"),
                "start": decimal(0.0, 0.0, 1.0, 0.001),
                "end": decimal(1.0, 0.0, 1.0, 0.001),
            }
        }

    def set_range(self, conditioning: Conditioning, start: float, end: float) -> tuple[Conditioning]:
        """From `start` to `end` of the whole, 0 being pure noise."""
        return (with_values(conditioning, {"start_percent": start, "end_percent": end}),)


class ConditioningZeroOut:
    """Replaces the numbers of conditioning by zeros."""

    CATEGORY = "advanced/conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "zero_out"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"conditioning": socket("CONDITIONING")}}

    def zero_out(self, conditioning: Conditioning) -> tuple[Conditioning]:
        """Zeros of the same shapes; other options stay."""
        result: list[tuple[Tensor, Options]] = []
        for tensor, options in entries(conditioning):
            zeroed = options.copy()
            pooled = options.get("pooled_output")
            if isinstance(pooled, Tensor):
                zeroed["pooled_output"] = torch.zeros_like(pooled)
            result.append((torch.zeros_like(tensor), zeroed))
        return (packed(result),)


NODES = (
    CLIPTextEncode,
    CLIPSetLastLayer,
    ConditioningCombine,
    ConditioningAverage,
    ConditioningConcat,
    ConditioningSetArea,
    ConditioningSetAreaPercentage,
    ConditioningSetAreaStrength,
    ConditioningSetMask,
    ConditioningSetTimestepRange,
    ConditioningZeroOut,
)
