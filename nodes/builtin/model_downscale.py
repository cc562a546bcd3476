"""The node that shrinks a UNet's inner features at the start of a sampling. Knows no maths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.inference.deep_shrink import DeepShrink
from nodes.builtin.inputs import InputTypes, combo, decimal, flag, integer

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle

METHODS = ("bicubic", "nearest-exact", "bilinear", "area", "bislerp")


class PatchModelAddDownscale:
    """Lets the inner blocks see a smaller picture in a part of the sampling."""

    LISTING = "v3"
    PACK = "comfy_extras.nodes_model_downscale"
    DISPLAY_NAME = "PatchModelAddDownscale (Kohya Deep Shrink)"
    CATEGORY = "model_patches/unet"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": ("MODEL", {}),
                "block_number": integer(3, 1, 32, step=1),
                "downscale_factor": decimal(2.0, 0.1, 9.0, 0.001),
                "start_percent": decimal(0.0, 0.0, 1.0, 0.001),
                "end_percent": decimal(0.35, 0.0, 1.0, 0.001),
                "downscale_after_skip": flag(default=True),
                "downscale_method": combo(METHODS),
                "upscale_method": combo(METHODS),
            }
        }

    def patch(
        self,
        model: ModelHandle,
        block_number: int,
        downscale_factor: float,
        start_percent: float,
        end_percent: float,
        downscale_after_skip: bool,
        downscale_method: str,
        upscale_method: str,
    ) -> tuple[ModelHandle]:
        """A changed copy; with `downscale_after_skip` the skip connection of the block keeps its size."""
        sampling = model.model_sampling
        shrink = DeepShrink(
            block=block_number,
            factor=downscale_factor,
            first_sigma=sampling.percent_to_sigma(start_percent),
            last_sigma=sampling.percent_to_sigma(end_percent),
            shrink=downscale_method,
            grow=upscale_method,
        )
        changed = model.clone()
        if downscale_after_skip:
            changed.set_model_input_block_patch_after_skip(shrink.shrunk)
        else:
            changed.set_model_input_block_patch(shrink.shrunk)
        changed.set_model_output_block_patch(shrink.grown)
        return (changed,)


NODES = (PatchModelAddDownscale,)
