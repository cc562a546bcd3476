"""Nodes that let pictures lead: vision models, style models, and conditioning made of them. Know no network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from executor.errors import NodeInputError
from executor.inference.flux_extras import BIAS
from executor.inference.values import Conditioning, Image
from nodes.builtin.conditioning import entries, packed
from nodes.builtin.inputs import InputTypes, choice, decimal, files, socket
from nodes.builtin.services import model_path, services

if TYPE_CHECKING:
    from executor.inference.style_model import StyleModel
    from executor.inference.vision import ClipVision, ClipVisionOutput

LEAST_STRENGTH = 1e-10  # its logarithm is a number


class CLIPVisionLoader:
    """Loads a vision model."""

    DISPLAY_NAME = "Load CLIP Vision"
    CATEGORY = "loaders"
    RETURN_TYPES = ("CLIP_VISION",)
    FUNCTION = "load_clip"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"clip_name": files("clip_vision")}}

    def load_clip(self, clip_name: str) -> tuple[ClipVision]:
        """Load it; ModelFileError when the file is missing or no vision model that can be loaded."""
        from executor.inference.vision import load_clip_vision

        return (load_clip_vision(model_path("clip_vision", clip_name, "clip_name"), services().memory),)


class CLIPVisionEncode:
    """Turns pictures into vectors with a vision model."""

    DISPLAY_NAME = "CLIP Vision Encode"
    CATEGORY = "conditioning"
    RETURN_TYPES = ("CLIP_VISION_OUTPUT",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "clip_vision": socket("CLIP_VISION"),
                "image": socket("IMAGE"),
                "crop": choice(["center", "none"]),
            }
        }

    def encode(self, clip_vision: ClipVision, image: Image, crop: str) -> tuple[ClipVisionOutput]:
        """Encode the pictures, cut to a square or squeezed into one."""
        return (clip_vision.encode_image(image, crop=crop == "center"),)


class StyleModelLoader:
    """Loads a style model."""

    DISPLAY_NAME = "Load Style Model"
    CATEGORY = "loaders"
    RETURN_TYPES = ("STYLE_MODEL",)
    FUNCTION = "load_style_model"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"style_model_name": files("style_models")}}

    def load_style_model(self, style_model_name: str) -> tuple[StyleModel]:
        """Load it; ModelFileError when the file is missing or no style model."""
        from executor.inference.style_model import load_style_model

        path = model_path("style_models", style_model_name, "style_model_name")
        return (load_style_model(path, services().memory),)


class StyleModelApply:
    """Adds the style of a picture to conditioning."""

    DISPLAY_NAME = "Apply Style Model"
    CATEGORY = "conditioning/style_model"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "apply_stylemodel"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "conditioning": socket("CONDITIONING"),
                "style_model": socket("STYLE_MODEL"),
                "clip_vision_output": socket("CLIP_VISION_OUTPUT"),
                "strength": decimal(1.0, 0.0, 10.0, 0.001),
                "strength_type": choice(["multiply", "attn_bias"]),
            }
        }

    def apply_stylemodel(
        self,
        conditioning: Conditioning,
        style_model: StyleModel,
        clip_vision_output: ClipVisionOutput,
        strength: float,
        strength_type: str,
    ) -> tuple[Conditioning]:
        """The conditioning with the pictures' tokens behind the text's.

        They are multiplied by the strength, or attention minds them so many times as much. Raises NodeInputError for
        tokens of another width than the text's, and for such a strength where the networks cannot be told.
        """
        biased = strength_type == "attn_bias" and strength != 1.0
        if biased and not style_model.leads_by_attention:
            reason = "input 'strength_type': no model of this style model's kind takes 'attn_bias' at another strength"
            raise NodeInputError(f"{reason} than 1; 'multiply' does")
        tokens = style_model.get_cond(clip_vision_output).flatten(0, 1)[None]
        tokens = tokens if biased else tokens * strength
        changed = []
        for tensor, options in entries(conditioning):
            if tensor.shape[-1] != tokens.shape[-1]:
                reason = f"input 'style_model': its tokens have width {tokens.shape[-1]}, the text's {tensor.shape[-1]}"
                raise NodeInputError(f"{reason}; take the style model of the text's family")
            told = options.copy()
            if biased or BIAS in options:
                told[BIAS] = with_bias(options.get(BIAS), tensor.shape[1], tokens.shape[1], strength if biased else 1.0)
            changed.append((torch.cat([tensor, tokens.expand(len(tensor), -1, -1)], dim=1), told))
        return (packed(changed),)


def with_bias(before: object, text: int, tokens: int, strength: float) -> torch.Tensor:
    """What is added to the attention's scores for each token [1, text + tokens], given what it was for the text's."""
    first = before if isinstance(before, torch.Tensor) else torch.zeros(1, text)
    return torch.cat([first, torch.full((1, tokens), math.log(max(strength, LEAST_STRENGTH)))], dim=1)


class unCLIPConditioning:  # noqa: N801  (the ecosystem's name)
    """Adds a picture's meaning to conditioning, for models that are led by pictures."""

    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "apply_adm"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "conditioning": socket("CONDITIONING"),
                "clip_vision_output": socket("CLIP_VISION_OUTPUT"),
                "strength": decimal(1.0, -10.0, 10.0),
                "noise_augmentation": decimal(0.0, 0.0, 1.0),
            }
        }

    def apply_adm(
        self,
        conditioning: Conditioning,
        clip_vision_output: ClipVisionOutput,
        strength: float,
        noise_augmentation: float,
    ) -> tuple[Conditioning]:
        """The conditioning with one more picture to follow."""
        if strength == 0:
            return (conditioning,)
        added = {
            "clip_vision_output": clip_vision_output,
            "strength": strength,
            "noise_augmentation": noise_augmentation,
        }
        changed = []
        for tensor, options in entries(conditioning):
            before = options.get("unclip_conditioning")
            pictures = [*before, added] if isinstance(before, list) else [added]
            changed.append((tensor, {**options, "unclip_conditioning": pictures}))
        return (packed(changed),)


NODES = (CLIPVisionLoader, CLIPVisionEncode, StyleModelLoader, StyleModelApply, unCLIPConditioning)
