"""The node that prepares pictures, masks and conditioning for inpainting models. Knows no sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.inference.inpainting import fitted_mask, greyed, whole_cells
from executor.inference.values import Conditioning, Image, Latent, Mask
from nodes.builtin.conditioning import Options, with_values
from nodes.builtin.inputs import InputTypes, flag, socket

if TYPE_CHECKING:
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


NODES = (InpaintModelConditioning,)
