"""Nodes between pictures and latents. Know no sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.inference.inpainting import inpaint_pixels
from executor.inference.values import Image, Latent, Mask
from nodes.builtin.inputs import InputTypes, integer, socket

if TYPE_CHECKING:
    from executor.inference.vae import Vae


class VAEDecode:
    """Turns latents into pictures."""

    DISPLAY_NAME = "VAE Decode"
    CATEGORY = "latent"
    DESCRIPTION = "Turns latents back into pictures."
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The decoded pictures.",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        latent, vae = socket("LATENT", "The latents to decode."), socket("VAE", "The VAE that decodes them.")
        return {"required": {"samples": latent, "vae": vae}}

    def decode(self, vae: Vae, samples: Latent) -> tuple[Image]:
        """Pictures [B, H, W, 3]; the frames of a video one after the other."""
        images = vae.decode(samples["samples"])
        if images.ndim == 5:
            images = images.flatten(0, 1)
        return (images,)


class VAEEncode:
    """Turns pictures into latents."""

    DISPLAY_NAME = "VAE Encode"
    CATEGORY = "latent"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"pixels": socket("IMAGE"), "vae": socket("VAE")}}

    def encode(self, vae: Vae, pixels: Image) -> tuple[Latent]:
        """Latents of the pictures' colours; alpha is left out."""
        return ({"samples": vae.encode(pixels[..., :3])},)


class VAEEncodeForInpaint:
    """Encodes a picture with its masked part greyed out, and marks that part for sampling."""

    DISPLAY_NAME = "VAE Encode (for Inpainting)"
    CATEGORY = "latent/inpaint"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "pixels": socket("IMAGE"),
                "vae": socket("VAE"),
                "mask": socket("MASK"),
                "grow_mask_by": integer(6, 0, 64, step=1),
            }
        }

    def encode(self, vae: Vae, pixels: Image, mask: Mask, grow_mask_by: int = 6) -> tuple[Latent]:
        """The latents and the grown noise mask."""
        grey, grown = inpaint_pixels(pixels, mask, grow_mask_by)
        return ({"samples": vae.encode(grey), "noise_mask": grown},)


NODES = (VAEDecode, VAEEncode, VAEEncodeForInpaint)
