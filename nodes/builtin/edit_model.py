"""The node that gives an InstructPix2Pix model the picture to edit. Knows no sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from executor.inference.inpainting import fitted_mask, whole_cells
from executor.inference.values import Conditioning, Image, Latent
from nodes.builtin.conditioning import Options, with_values
from nodes.builtin.inputs import InputTypes

if TYPE_CHECKING:
    from executor.inference.vae import Vae


class InstructPixToPixConditioning:
    """Puts a picture's latents beside the noise."""

    LISTING = "v3"
    PACK = "comfy_extras.nodes_ip2p"
    CATEGORY = "conditioning/instructpix2pix"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT")
    RETURN_NAMES = ("positive", "negative", "latent")
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "positive": ("CONDITIONING", {}),
                "negative": ("CONDITIONING", {}),
                "vae": ("VAE", {}),
                "pixels": ("IMAGE", {}),
            }
        }

    def encode(
        self, positive: Conditioning, negative: Conditioning, pixels: Image, vae: Vae
    ) -> tuple[Conditioning, Conditioning, Latent]:
        """Both conditionings with the picture, and empty latents of its size."""
        cut, _ = whole_cells(pixels, fitted_mask(torch.zeros(1, *pixels.shape[1:3]), pixels))
        picture = vae.encode(cut)
        beside: Options = {"concat_latent_image": picture}
        latent: Latent = {"samples": torch.zeros_like(picture)}
        return with_values(positive, beside), with_values(negative, beside), latent


NODES = (InstructPixToPixConditioning,)
