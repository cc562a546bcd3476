"""Nodes that apply LoRAs. Know where a file lies, not what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.builtin.inputs import InputTypes, decimal, files, socket
from nodes.builtin.services import model_path

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle
    from executor.inference.text.clip import Clip

MOST = 100.0


class LoraLoader:
    """Applies a LoRA to a diffusion model and its text model."""

    DISPLAY_NAME = "Load LoRA"
    CATEGORY = "loaders"
    DESCRIPTION = "Changes a diffusion model and its text model by a LoRA, for a style or subject; several can follow."
    RETURN_TYPES = ("MODEL", "CLIP")
    OUTPUT_TOOLTIPS = ("The changed diffusion model.", "The changed text model.")
    FUNCTION = "load_lora"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        drawn = "How strongly the diffusion model is changed; below zero, the other way."
        read = "How strongly the text model is changed; below zero, the other way."
        return {
            "required": {
                "model": socket("MODEL", "The diffusion model to change."),
                "clip": socket("CLIP", "The text model to change."),
                "lora_name": files("loras", tooltip="The LoRA file."),
                "strength_model": decimal(1.0, -MOST, MOST, tooltip=drawn),
                "strength_clip": decimal(1.0, -MOST, MOST, tooltip=read),
            }
        }

    def load_lora(
        self, model: ModelHandle, clip: Clip | None, lora_name: str, strength_model: float, strength_clip: float
    ) -> tuple[ModelHandle, Clip | None]:
        """Changed copies of both, unchanged where nothing in the file fits; ModelFileError when it is no LoRA."""
        if strength_model == 0 and strength_clip == 0:
            return model, clip
        from executor.inference.lora import apply_lora
        from executor.inference.weights import read_weights

        file = read_weights(model_path("loras", lora_name, "lora_name"))
        return apply_lora(file, model, clip, strength_model, strength_clip)


class LoraLoaderModelOnly:
    """Applies a LoRA to a diffusion model only."""

    CATEGORY = "loaders"
    DESCRIPTION = "Changes a diffusion model by a LoRA and leaves the text model as it is."
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "load_lora_model_only"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": socket("MODEL"),
                "lora_name": files("loras"),
                "strength_model": decimal(1.0, -MOST, MOST),
            }
        }

    def load_lora_model_only(self, model: ModelHandle, lora_name: str, strength_model: float) -> tuple[ModelHandle]:
        """A changed copy."""
        return (LoraLoader().load_lora(model, None, lora_name, strength_model, 0)[0],)


NODES = (LoraLoader, LoraLoaderModelOnly)
