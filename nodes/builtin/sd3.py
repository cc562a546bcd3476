"""Nodes of Stable Diffusion 3 that are no text nodes. Know no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.builtin.controlnet import ControlNetApplyAdvanced
from nodes.builtin.inputs import InputTypes, decimal, text
from nodes.builtin.model_patches import SkipLayerGuidanceDiT

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle

PACK = "comfy_extras.nodes_sd3"


class SkipLayerGuidanceSD3:
    """Leads away from what Stable Diffusion 3 draws without some of its blocks."""

    PACK = PACK
    LISTING = "v3"
    EXPERIMENTAL = True
    CATEGORY = "advanced/guidance"
    DESCRIPTION = "Pushes the picture away from what the model would draw without some of its blocks."
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "skip_guidance"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": ("MODEL", {}),
                "layers": text(default="7, 8, 9", multiline=False),
                "scale": decimal(3.0, 0.0, 10.0, 0.1),
                "start_percent": decimal(0.01, 0.0, 1.0, 0.001),
                "end_percent": decimal(0.15, 0.0, 1.0, 0.001),
            }
        }

    def skip_guidance(
        self, model: ModelHandle, layers: str, scale: float, start_percent: float, end_percent: float
    ) -> tuple[ModelHandle]:
        """A clone pushed between two shares of the sampling; without numbers of blocks the model as it is."""
        return SkipLayerGuidanceDiT().skip_guidance(model, layers, "", scale, start_percent, end_percent)


class ControlNetApplySD3(ControlNetApplyAdvanced):
    """Attaches a ControlNet that reads pictures as latents to both sides of the guidance."""

    PACK = PACK
    LISTING = "v3"
    DEPRECATED = True
    DISPLAY_NAME = "Apply Controlnet with VAE"
    CATEGORY = "conditioning/controlnet"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "positive": ("CONDITIONING", {}),
                "negative": ("CONDITIONING", {}),
                "control_net": ("CONTROL_NET", {}),
                "vae": ("VAE", {}),
                "image": ("IMAGE", {}),
                "strength": decimal(1.0, 0.0, 10.0),
                "start_percent": decimal(0.0, 0.0, 1.0, 0.001),
                "end_percent": decimal(1.0, 0.0, 1.0, 0.001),
            }
        }


NODES = (SkipLayerGuidanceSD3, ControlNetApplySD3)
