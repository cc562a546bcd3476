"""Nodes that let pictures lead: vision models, style models, and conditioning made of them. Know no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.errors import ModelFileError, NodeInputError
from executor.inference.values import Conditioning, Image
from nodes.builtin.conditioning import entries, packed
from nodes.builtin.inputs import InputTypes, choice, decimal, files, socket
from nodes.builtin.services import model_path, services

if TYPE_CHECKING:
    from executor.inference.vision import ClipVision, ClipVisionOutput


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
    """Refuses style models: no family that uses them is here yet."""

    DISPLAY_NAME = "Load Style Model"
    CATEGORY = "loaders"
    RETURN_TYPES = ("STYLE_MODEL",)
    FUNCTION = "load_style_model"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"style_model_name": files("style_models")}}

    def load_style_model(self, style_model_name: str) -> tuple[object]:
        """Raise ModelFileError saying what the file is."""
        from executor.inference.weights import read_weights

        path = model_path("style_models", style_model_name, "style_model_name")
        names = read_weights(path).tensors
        redux = "redux_up.weight" in names or "redux_down.weight" in names
        what = "a Flux Redux style model" if redux else "a T2I style adapter" if "style_embedding" in names else ""
        reason = f"is {what}, and style models are not supported yet" if what else "is no style model"
        raise ModelFileError(path, reason, "to let a picture lead, use a ControlNet or an IP-Adapter pack")


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
        style_model: object,
        clip_vision_output: ClipVisionOutput,
        strength: float,
        strength_type: str,
    ) -> tuple[Conditioning]:
        """Raise NodeInputError: no loader of ours gives a style model."""
        raise NodeInputError("input 'style_model': style models are not supported yet")


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
