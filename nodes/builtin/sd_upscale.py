"""The node that gives Stable Diffusion's x4 upscaler the picture to enlarge. Knows no network."""

from __future__ import annotations

import torch

from executor.inference.pixels import common_upscale
from executor.inference.values import Conditioning, Image, Latent
from nodes.builtin.conditioning import with_values
from nodes.builtin.inputs import InputTypes, decimal

CELL = 4  # pixels of the large picture for one of the small one, and for one latent cell


class SD_4XUpscale_Conditioning:  # noqa: N801  (the ecosystem's name)
    """Puts the picture to enlarge beside the latents of an x4 upscaler."""

    LISTING = "v3"
    PACK = "comfy_extras.nodes_sdupscale"
    CATEGORY = "conditioning/upscale_diffusion"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT")
    RETURN_NAMES = ("positive", "negative", "latent")
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "images": ("IMAGE", {}),
                "positive": ("CONDITIONING", {}),
                "negative": ("CONDITIONING", {}),
                "scale_ratio": decimal(4.0, 0.0, 10.0),
                "noise_augmentation": decimal(0.0, 0.0, 1.0, 0.001),
            }
        }

    def encode(
        self,
        images: Image,
        positive: Conditioning,
        negative: Conditioning,
        scale_ratio: float,
        noise_augmentation: float,
    ) -> tuple[Conditioning, Conditioning, Latent]:
        """Both conditionings with the picture, scaled to a quarter of the wanted size, and latents of that size."""
        width, height = (max(1, round(side * scale_ratio) // CELL) for side in (images.shape[2], images.shape[1]))
        small = common_upscale(images[..., :3].movedim(-1, 1) * 2.0 - 1.0, width, height, "bilinear", "center")
        values: dict[str, object] = {"concat_image": small, "noise_augmentation": noise_augmentation}
        latent: Latent = {"samples": torch.zeros(len(images), 4, height, width)}
        return with_values(positive, values), with_values(negative, values), latent


NODES = (SD_4XUpscale_Conditioning,)
