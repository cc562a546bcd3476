"""The node that prepares pictures, masks and conditioning for inpainting models. Knows no sampling."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from executor.inference.inpainting import fitted_mask, greyed, mask_of_level, whole_cells
from executor.inference.values import Conditioning, Image, Latent, Mask
from nodes.builtin.conditioning import Options, with_values
from nodes.builtin.inputs import InputTypes, decimal, flag, socket

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle
    from executor.inference.vae import Vae


class InpaintModelConditioning:
    """Gives an inpainting model the masked picture beside the noise."""

    CATEGORY = "conditioning/inpaint"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT")
    RETURN_NAMES = ("positive", "negative", "latent")
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        limit = "Also limits sampling to the mask; helps some models and hurts others."
        return {
            "required": {
                "positive": socket("CONDITIONING"),
                "negative": socket("CONDITIONING"),
                "vae": socket("VAE"),
                "pixels": socket("IMAGE"),
                "mask": socket("MASK"),
                "noise_mask": flag(default=True, tooltip=limit),
            }
        }

    def encode(
        self,
        positive: Conditioning,
        negative: Conditioning,
        pixels: Image,
        vae: Vae,
        mask: Mask,
        noise_mask: bool = True,
    ) -> tuple[Conditioning, Conditioning, Latent]:
        """Both conditionings with the greyed picture's latents and the mask, and the picture's own latents."""
        cut, cut_mask = whole_cells(pixels, fitted_mask(mask, pixels))
        beside: Options = {"concat_latent_image": vae.encode(greyed(cut, cut_mask)), "concat_mask": cut_mask}
        latent: Latent = {"samples": vae.encode(pixels[..., :3])}
        if noise_mask:
            latent["noise_mask"] = cut_mask
        return with_values(positive, beside), with_values(negative, beside), latent


class DifferentialDiffusion:
    """Redraws each part of a picture from the noise level that its shade in the mask says."""

    PACK = "comfy_extras.nodes_differential_diffusion"
    LISTING = "v3"
    EXPERIMENTAL = True
    DISPLAY_NAME = "Differential Diffusion"
    CATEGORY = "_for_testing"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "apply"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": ("MODEL", {})}, "optional": {"strength": decimal(1.0, 0.0, 1.0)}}

    def apply(self, model: ModelHandle, strength: float = 1.0) -> tuple[ModelHandle]:
        """A clone that takes noise masks so; below `strength` 1 they count as shades too."""
        changed = model.clone()
        changed.set_model_denoise_mask_function(partial(mask_of_level, strength))
        return (changed,)


NODES = (InpaintModelConditioning, DifferentialDiffusion)
