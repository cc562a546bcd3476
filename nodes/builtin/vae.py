"""Nodes between pictures and latents. Know no sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.inference.inpainting import inpaint_pixels
from executor.inference.values import Image, Latent, Mask
from nodes.builtin.inputs import Entry, InputTypes, held, integer, socket

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

    def decode(self, vae: Vae | None, samples: Latent) -> tuple[Image]:
        """Pictures [B, H, W, 3]; the frames of a video one after the other."""
        images = held(vae, "vae", "VAE").decode(samples["samples"])
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

    def encode(self, vae: Vae | None, pixels: Image) -> tuple[Latent]:
        """Latents of the pictures' colours; alpha is left out."""
        return ({"samples": held(vae, "vae", "VAE").encode(pixels[..., :3])},)


class VAEDecodeTiled:
    """Turns latents into pictures tile by tile, in little memory."""

    DISPLAY_NAME = "VAE Decode (Tiled)"
    CATEGORY = "_for_testing"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"samples": socket("LATENT"), "vae": socket("VAE"), **tile_sizes(32)}}

    def decode(
        self,
        vae: Vae | None,
        samples: Latent,
        tile_size: int,
        overlap: int = 64,
        temporal_size: int = 64,
        temporal_overlap: int = 8,
    ) -> tuple[Image]:
        """Pictures [B, H, W, 3]; sizes in pixels, the temporal ones are for videos."""
        vae = held(vae, "vae", "VAE")
        if tile_size < overlap * 4:
            overlap = tile_size // 4
        cell = vae.spacial_compression_decode()
        tile, shared = tile_size // cell, overlap // cell
        images = vae.decode_tiled(samples["samples"], tile_x=tile, tile_y=tile, overlap=shared)
        if images.ndim == 5:
            images = images.flatten(0, 1)
        return (images,)


class VAEEncodeTiled:
    """Turns pictures into latents tile by tile, in little memory."""

    DISPLAY_NAME = "VAE Encode (Tiled)"
    CATEGORY = "_for_testing"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"pixels": socket("IMAGE"), "vae": socket("VAE"), **tile_sizes(64)}}

    def encode(
        self,
        vae: Vae | None,
        pixels: Image,
        tile_size: int,
        overlap: int,
        temporal_size: int = 64,
        temporal_overlap: int = 8,
    ) -> tuple[Latent]:
        """Latents of the pictures' colours; sizes in pixels, the temporal ones are for videos."""
        encoded = held(vae, "vae", "VAE").encode_tiled(
            pixels[..., :3], tile_x=tile_size, tile_y=tile_size, overlap=overlap
        )
        return ({"samples": encoded},)


def tile_sizes(tile_step: int) -> dict[str, Entry]:
    """The inputs that say how large tiles are, in pixels and, for videos, in frames."""
    frames = "Only for video VAEs: frames at a time."
    shared = "Only for video VAEs: frames that neighbouring stretches share."
    return {
        "tile_size": integer(512, 64, 4096, step=tile_step),
        "overlap": integer(64, 0, 4096, step=32),
        "temporal_size": integer(64, 8, 4096, step=4, tooltip=frames),
        "temporal_overlap": integer(8, 4, 4096, step=4, tooltip=shared),
    }


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

    def encode(self, vae: Vae | None, pixels: Image, mask: Mask, grow_mask_by: int = 6) -> tuple[Latent]:
        """The latents and the grown noise mask."""
        grey, grown = inpaint_pixels(pixels, mask, grow_mask_by)
        return ({"samples": held(vae, "vae", "VAE").encode(grey), "noise_mask": grown},)


NODES = (VAEDecode, VAEDecodeTiled, VAEEncode, VAEEncodeTiled, VAEEncodeForInpaint)
