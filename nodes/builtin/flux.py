"""Nodes of Flux.1: its texts, the guidance it was taught, and the pictures that Kontext sees. Know no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.errors import NodeInputError
from executor.inference.pixels import common_upscale
from executor.inference.values import Conditioning, Image
from nodes.builtin.conditioning import with_values
from nodes.builtin.inputs import InputTypes, combo, decimal, held, text

if TYPE_CHECKING:
    from executor.inference.text.clip import Clip

METHODS = ("offset", "index", "uxo/uno")
SIZES = (
    (672, 1568),
    (688, 1504),
    (720, 1456),
    (752, 1392),
    (800, 1328),
    (832, 1248),
    (880, 1184),
    (944, 1104),
    (1024, 1024),
    (1104, 944),
    (1184, 880),
    (1248, 832),
    (1328, 800),
    (1392, 752),
    (1456, 720),
    (1504, 688),
    (1568, 672),
)
"""Widths and heights that Kontext was trained with (Labs et al. 2025, arXiv:2506.15742)."""


class _Flux:
    LISTING = "v3"
    PACK = "comfy_extras.nodes_flux"
    CATEGORY = "advanced/conditioning/flux"
    RETURN_TYPES = ("CONDITIONING",)


class CLIPTextEncodeFlux(_Flux):
    """Encodes a text for each of Flux's encoders, with the guidance it was taught."""

    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "clip": ("CLIP", {}),
                "clip_l": text(multiline=True, dynamicPrompts=True),
                "t5xxl": text(multiline=True, dynamicPrompts=True),
                "guidance": decimal(3.5, 0.0, 100.0, 0.1),
            }
        }

    def encode(self, clip: Clip | None, clip_l: str, t5xxl: str, guidance: float) -> tuple[Conditioning]:
        """Both texts, one for each encoder; NodeInputError when the text model has no T5."""
        clip = held(clip, "clip", "CLIP")
        tokens, others = clip.tokenize(clip_l), clip.tokenize(t5xxl)
        if "t5xxl" not in others:
            raise NodeInputError("input 'clip': this text model has no T5; load both encoders with type 'flux'")
        both = {**tokens, "t5xxl": others["t5xxl"]}
        return (clip.encode_from_tokens_scheduled(both, add_dict={"guidance": guidance}),)


class FluxGuidance(_Flux):
    """Tells models that were taught guidance how strong it is to be."""

    FUNCTION = "set_guidance"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"conditioning": ("CONDITIONING", {}), "guidance": decimal(3.5, 0.0, 100.0, 0.1)}}

    def set_guidance(self, conditioning: Conditioning, guidance: float) -> tuple[Conditioning]:
        """The strength on every entry."""
        return (with_values(conditioning, {"guidance": guidance}),)


class FluxDisableGuidance(_Flux):
    """Tells models that were taught guidance nothing of it."""

    FUNCTION = "disable"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"conditioning": ("CONDITIONING", {})}}

    def disable(self, conditioning: Conditioning) -> tuple[Conditioning]:
        """No strength on any entry."""
        return (with_values(conditioning, {"guidance": None}),)


class FluxKontextImageScale(_Flux):
    """Brings pictures to a size that Kontext was trained with."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "scale"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"image": ("IMAGE", {})}}

    def scale(self, image: Image) -> tuple[Image]:
        """The size whose sides are nearest in proportion; what is too long is cut off around the middle."""
        shape = image.shape[2] / image.shape[1]
        width, height = min(SIZES, key=lambda size: abs(shape - size[0] / size[1]))
        return (common_upscale(image.movedim(-1, 1), width, height, "lanczos", "center").movedim(1, -1),)


class FluxKontextMultiReferenceLatentMethod(_Flux):
    """Tells where the pictures stand that Kontext sees."""

    FUNCTION = "set_method"
    EXPERIMENTAL = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"conditioning": ("CONDITIONING", {}), "reference_latents_method": combo(METHODS)}}

    def set_method(self, conditioning: Conditioning, reference_latents_method: str) -> tuple[Conditioning]:
        """Beside each other, in layers of their own, or diagonally behind the picture."""
        method = reference_latents_method.partition("/")[0]
        return (with_values(conditioning, {"reference_latents_method": method}),)


NODES = (
    CLIPTextEncodeFlux,
    FluxGuidance,
    FluxDisableGuidance,
    FluxKontextImageScale,
    FluxKontextMultiReferenceLatentMethod,
)
