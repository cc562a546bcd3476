"""What a family of models is, as packs read it of a file or a MODEL: sizes of its network, its latents, its levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from comfy import latent_formats
from comfy.model_base import ModelType
from nodes.placeholders import fallback

__getattr__ = fallback(__name__)

INPAINT_CHANNELS = 9


class BASE:
    """One family with the sizes of one network; Weft builds its networks by `executor/inference/families`."""

    unet_config: ClassVar[Mapping[str, object]] = {}
    unet_extra_config: ClassVar[Mapping[str, object]] = {}
    required_keys: ClassVar[Mapping[str, object]] = {}
    clip_prefix: ClassVar[list[str]] = []
    clip_vision_prefix: str | None = None
    vae_key_prefix: ClassVar[list[str]] = ["first_stage_model."]
    text_encoder_key_prefix: ClassVar[list[str]] = ["cond_stage_model."]
    noise_aug_config: object = None
    sampling_settings: ClassVar[Mapping[str, object]] = {}
    latent_format: type = latent_formats.LatentFormat
    supported_inference_dtypes: ClassVar[list[object]] = []
    memory_usage_factor = 2.0
    manual_cast_dtype: object = None
    custom_operations: object = None
    scaled_fp8: object = None
    optimizations: ClassVar[Mapping[str, object]] = {}
    prediction = ModelType.EPS

    def __init__(self, unet_config: Mapping[str, object]) -> None:
        self.unet_config = dict(unet_config)
        self.sampling_settings = dict(type(self).sampling_settings)
        self.latent_format = type(self).latent_format()

    @classmethod
    def matches(cls, unet_config: Mapping[str, object], state_dict: object = None) -> bool:
        """Whether a network of these sizes is of this family."""
        absent = object()
        return all(unet_config.get(name, absent) == value for name, value in cls.unet_config.items())

    def model_type(self, state_dict: object = None, prefix: str = "") -> ModelType:
        """What the network's output means."""
        return type(self).prediction

    def inpaint_model(self) -> bool:
        """Whether it takes a mask and a picture beside the latents."""
        return int(self.unet_config.get("in_channels", 0)) >= INPAINT_CHANNELS
