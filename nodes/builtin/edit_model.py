"""Nodes that give models the pictures to edit. Know no sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from executor.inference.inpainting import fitted_mask, whole_cells
from executor.inference.values import Conditioning, Image, Latent
from nodes.builtin.conditioning import Options, entries, packed, with_values
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


class ReferenceLatent:
    """Adds a picture that the model sees beside the one it draws; several can follow each other."""

    LISTING = "v3"
    PACK = "comfy_extras.nodes_edit_model"
    CATEGORY = "advanced/conditioning/edit_models"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"conditioning": ("CONDITIONING", {})}, "optional": {"latent": ("LATENT", {})}}

    def append(self, conditioning: Conditioning, latent: Latent | None = None) -> tuple[Conditioning]:
        """The latents behind those that each entry has."""
        if latent is None:
            return (conditioning,)
        changed = []
        for tensor, options in entries(conditioning):
            before = options.get("reference_latents")
            pictures = [*before, latent["samples"]] if isinstance(before, list) else [latent["samples"]]
            changed.append((tensor, {**options, "reference_latents": pictures}))
        return (packed(changed),)


NODES = (InstructPixToPixConditioning, ReferenceLatent)
