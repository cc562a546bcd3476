"""What lies behind a MODEL, as far as packs test its kind. Its classes for families that Weft lacks are stand-ins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from comfy.handles import Alias
from executor.inference.diffusion import DiffusionModel
from executor.inference.network_config import ModelType
from nodes.placeholders import fallback, missing

__all__ = ["ModelType"]

__getattr__ = fallback(__name__)


class BaseModel(metaclass=Alias):
    """A network and its sampling; Weft's own count as instances."""

    core = DiffusionModel

    def __init__(self, *given: object, **options: object) -> None:
        raise missing("comfy.model_base.BaseModel")


class OfSizes(Alias):
    """The type of classes whose instances are networks with the sizes that the class has in `sizes`."""

    def __instancecheck__(cls, instance: object) -> bool:  # noqa: N805  (of a class)
        if not isinstance(instance, DiffusionModel):
            return type.__instancecheck__(cls, instance)
        has, absent = instance.model_config.unet_config, object()
        return all(has.get(name, absent) == value for name, value in cls.sizes.items())


class Flux(BaseModel, metaclass=OfSizes):
    """Flux.1."""

    sizes: ClassVar[Mapping[str, object]] = {"image_model": "flux"}


class QwenImage(BaseModel, metaclass=OfSizes):
    """Qwen-Image and Qwen-Image-Edit."""

    sizes: ClassVar[Mapping[str, object]] = {"image_model": "qwen_image"}


class SD3(BaseModel, metaclass=OfSizes):
    """Stable Diffusion 3 and 3.5."""

    sizes: ClassVar[Mapping[str, object]] = {"in_channels": 16, "pos_embed_scaling_factor": None}


class WAN21(BaseModel, metaclass=OfSizes):
    """Wan 2.1 and 2.2."""

    sizes: ClassVar[Mapping[str, object]] = {"image_model": "wan2.1"}


class WAN21_Vace(WAN21):  # noqa: N801  (the ecosystem's name)
    """Wan whose videos are kept to others."""

    sizes: ClassVar[Mapping[str, object]] = {"image_model": "wan2.1", "model_type": "vace"}


class WAN22(WAN21):
    """Wan 2.2 at 5 billion weights."""

    sizes: ClassVar[Mapping[str, object]] = {"image_model": "wan2.1", "out_dim": 48}


class SDXL(BaseModel, metaclass=OfSizes):
    """Stable Diffusion XL."""

    sizes: ClassVar[Mapping[str, object]] = {"context_dim": 2048, "adm_in_channels": 2816}


class SDXLRefiner(BaseModel, metaclass=OfSizes):
    """The refiner of Stable Diffusion XL."""

    sizes: ClassVar[Mapping[str, object]] = {"context_dim": 1280, "adm_in_channels": 2560}


class SD21UNCLIP(BaseModel, metaclass=OfSizes):
    """unCLIP of Stable Diffusion 2.1."""

    sizes: ClassVar[Mapping[str, object]] = {"context_dim": 1024, "adm_in_channels": 2048}


class SVD_img2vid(BaseModel, metaclass=OfSizes):  # noqa: N801  (the ecosystem's name)
    """Stable Video Diffusion."""

    sizes: ClassVar[Mapping[str, object]] = {"context_dim": 1024, "use_temporal_attention": True}
