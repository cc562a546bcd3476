"""Families under the names that packs know: what a file is, and the list that packs change.

An entry of the list that is no family of Weft is kept and never matched. Families that Weft lacks are stand-ins.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import ClassVar

from comfy import latent_formats
from comfy.model_base import ModelType
from comfy.supported_models_base import BASE
from executor.inference import families as _families
from executor.inference.families.base import Family
from nodes.placeholders import fallback

__getattr__ = fallback(__name__)


class SD15(BASE):
    """Stable Diffusion 1.x."""

    unet_config: ClassVar[Mapping[str, object]] = {"use_linear_in_transformer": False, "adm_in_channels": None}
    latent_format = latent_formats.SD15


class SD15_instructpix2pix(SD15):  # noqa: N801  (the ecosystem's name)
    """InstructPix2Pix of Stable Diffusion 1.x."""

    unet_config: ClassVar[Mapping[str, object]] = {**SD15.unet_config, "in_channels": 8}


class SD20(BASE):
    """Stable Diffusion 2.x."""

    unet_config: ClassVar[Mapping[str, object]] = {"use_linear_in_transformer": True, "adm_in_channels": None}
    latent_format = latent_formats.SD15


class SD21UnclipL(SD20):
    """unCLIP of Stable Diffusion 2.1, by the smaller vision model."""

    unet_config: ClassVar[Mapping[str, object]] = {"context_dim": 1024, "adm_in_channels": 1536}


class SD21UnclipH(SD20):
    """unCLIP of Stable Diffusion 2.1, by the larger vision model."""

    unet_config: ClassVar[Mapping[str, object]] = {"context_dim": 1024, "adm_in_channels": 2048}


class SD_X4Upscaler(SD20):  # noqa: N801  (the ecosystem's name)
    """The x4 upscaler of Stable Diffusion 2."""

    unet_config: ClassVar[Mapping[str, object]] = {**SD20.unet_config, "in_channels": 7}
    latent_format = latent_formats.SD_X4


class SDXLRefiner(BASE):
    """The refiner of Stable Diffusion XL."""

    unet_config: ClassVar[Mapping[str, object]] = {"context_dim": 1280, "adm_in_channels": 2560}
    latent_format = latent_formats.SDXL


class SDXL(BASE):
    """Stable Diffusion XL."""

    unet_config: ClassVar[Mapping[str, object]] = {"context_dim": 2048, "adm_in_channels": 2816}
    latent_format = latent_formats.SDXL


class SDXL_instructpix2pix(SDXL):  # noqa: N801  (the ecosystem's name)
    """Stable Diffusion XL that edits pictures."""

    unet_config: ClassVar[Mapping[str, object]] = {**SDXL.unet_config, "in_channels": 8}


class SVD_img2vid(BASE):  # noqa: N801  (the ecosystem's name)
    """Stable Video Diffusion."""

    unet_config: ClassVar[Mapping[str, object]] = {"context_dim": 1024, "adm_in_channels": 768}
    latent_format = latent_formats.SD15
    prediction = ModelType.V_PREDICTION_EDM


class SD3(BASE):
    """Stable Diffusion 3 and 3.5."""

    unet_config: ClassVar[Mapping[str, object]] = {"in_channels": 16, "pos_embed_scaling_factor": None}
    sampling_settings: ClassVar[Mapping[str, object]] = {"shift": 3.0}
    latent_format = latent_formats.SD3
    prediction = ModelType.FLOW
    text_encoder_key_prefix: ClassVar[list[str]] = ["text_encoders."]


class FluxInpaint(BASE):
    """Flux.1 that fills."""

    unet_config: ClassVar[Mapping[str, object]] = {"image_model": "flux", "guidance_embed": True, "in_channels": 96}
    latent_format = latent_formats.Flux
    prediction = ModelType.FLUX
    vae_key_prefix: ClassVar[list[str]] = ["vae."]
    text_encoder_key_prefix: ClassVar[list[str]] = ["text_encoders."]


class Flux(FluxInpaint):
    """Flux.1 that was taught guidance."""

    unet_config: ClassVar[Mapping[str, object]] = {"image_model": "flux", "guidance_embed": True}


class FluxSchnell(FluxInpaint):
    """Flux.1 of few steps."""

    unet_config: ClassVar[Mapping[str, object]] = {"image_model": "flux", "guidance_embed": False}
    sampling_settings: ClassVar[Mapping[str, object]] = {"multiplier": 1.0, "shift": 1.0}
    prediction = ModelType.FLOW


class QwenImage(BASE):
    """Qwen-Image and Qwen-Image-Edit."""

    unet_config: ClassVar[Mapping[str, object]] = {"image_model": "qwen_image"}
    sampling_settings: ClassVar[Mapping[str, object]] = {"multiplier": 1.0, "shift": 1.15}
    latent_format = latent_formats.Wan21
    prediction = ModelType.FLOW
    vae_key_prefix: ClassVar[list[str]] = ["vae."]
    text_encoder_key_prefix: ClassVar[list[str]] = ["text_encoders."]


class WAN22_T2V(BASE):  # noqa: N801  (the ecosystem's name)
    """Wan 2.2 at 5 billion weights."""

    unet_config: ClassVar[Mapping[str, object]] = {"image_model": "wan2.1", "model_type": "t2v", "out_dim": 48}
    sampling_settings: ClassVar[Mapping[str, object]] = {"shift": 8.0}
    latent_format = latent_formats.Wan22
    prediction = ModelType.FLOW
    vae_key_prefix: ClassVar[list[str]] = ["vae."]
    text_encoder_key_prefix: ClassVar[list[str]] = ["text_encoders."]


class WAN21_T2V(WAN22_T2V):  # noqa: N801  (the ecosystem's name)
    """Wan that draws videos from texts."""

    unet_config: ClassVar[Mapping[str, object]] = {"image_model": "wan2.1", "model_type": "t2v"}
    latent_format = latent_formats.Wan21


class WAN21_FunControl2V(WAN21_T2V):  # noqa: N801  (the ecosystem's name)
    """VideoX-Fun's networks that a control leads."""

    unet_config: ClassVar[Mapping[str, object]] = {"image_model": "wan2.1", "model_type": "i2v", "in_dim": 48}


class WAN21_I2V(WAN21_T2V):  # noqa: N801  (the ecosystem's name)
    """Wan that a picture leads."""

    unet_config: ClassVar[Mapping[str, object]] = {"image_model": "wan2.1", "model_type": "i2v"}


class WAN21_Vace(WAN21_T2V):  # noqa: N801  (the ecosystem's name)
    """Wan whose videos are kept to others."""

    unet_config: ClassVar[Mapping[str, object]] = {"image_model": "wan2.1", "model_type": "vace"}


KNOWN: tuple[type[BASE], ...] = (
    SD15_instructpix2pix, SD15, SD21UnclipL, SD21UnclipH, SD_X4Upscaler, SD20, SDXLRefiner, SDXL_instructpix2pix, SDXL,
    SVD_img2vid, SD3, FluxInpaint, Flux, FluxSchnell, WAN22_T2V, WAN21_T2V, WAN21_FunControl2V, WAN21_I2V, WAN21_Vace,
    QwenImage,
)  # fmt: skip
"""The classes that a network's sizes are matched against, in this order; of SD1.x and SD2.x any width."""


models: list[object] = list(KNOWN)

STANDS_FOR = {
    "sd15": SD15,
    "sd_x4": SD_X4Upscaler,
    "sd2": SD20,
    "sd2_unclip": SD21UnclipH,
    "sdxl_refiner": SDXLRefiner,
    "sdxl": SDXL,
    "svd": SVD_img2vid,
    "sd3": SD3,
    "flux": Flux,
    "wan": WAN21_T2V,
    "qwen_image": QwenImage,
}
"""Weft's family → the class whose place in the list lets it be matched; others are as long as any of KNOWN is there."""


class _Module(ModuleType):
    """This module; its list is asked whenever a file is opened, once a pack has put one of its own in place."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "models":

            def of_packs() -> Sequence[Family]:
                ours = any(known in value for known in KNOWN)
                return [
                    family
                    for family in _families.FAMILIES
                    if (STANDS_FOR[family.name] in value if family.name in STANDS_FOR else ours)
                ]

            of_packs.__qualname__ = "models"
            _families.families.replace(of_packs)


sys.modules[__name__].__class__ = _Module
