"""Nodes that encode text for SDXL: with the sizes a picture was taken at, or with how pretty it is. Know no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.errors import NodeInputError
from executor.inference.values import Conditioning
from nodes.builtin.inputs import MAX_RESOLUTION, Entry, InputTypes, decimal, held, integer, text

if TYPE_CHECKING:
    from executor.inference.text.clip import Clip

PACK = "comfy_extras.nodes_clip_sdxl"


def side(default: int) -> Entry:
    """A length or place in pixels; nought stands for none."""
    return integer(default, 0, MAX_RESOLUTION)


class CLIPTextEncodeSDXL:
    """Encodes a text for each of SDXL's encoders, with sizes."""

    LISTING = "v3"
    PACK = PACK
    CATEGORY = "advanced/conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "clip": ("CLIP", {}),
                "width": side(1024),
                "height": side(1024),
                "crop_w": side(0),
                "crop_h": side(0),
                "target_width": side(1024),
                "target_height": side(1024),
                "text_g": text(multiline=True, dynamicPrompts=True),
                "text_l": text(multiline=True, dynamicPrompts=True),
            }
        }

    def encode(
        self,
        clip: Clip | None,
        width: int,
        height: int,
        crop_w: int,
        crop_h: int,
        target_width: int,
        target_height: int,
        text_g: str,
        text_l: str,
    ) -> tuple[Conditioning]:
        """Both texts side by side; NodeInputError when the text model has no CLIP-L."""
        clip = held(clip, "clip", "CLIP")
        tokens, others = clip.tokenize(text_g), clip.tokenize(text_l)
        if "l" not in others:
            raise NodeInputError("input 'clip': this text model has no CLIP-L; load one of an SDXL base checkpoint")
        sizes: dict[str, object] = {
            "width": width,
            "height": height,
            "crop_w": crop_w,
            "crop_h": crop_h,
            "target_width": target_width,
            "target_height": target_height,
        }
        return (clip.encode_from_tokens_scheduled({**tokens, "l": others["l"]}, add_dict=sizes),)


class CLIPTextEncodeSDXLRefiner:
    """Encodes a text for SDXL's refiner, with a score."""

    LISTING = "v3"
    PACK = PACK
    CATEGORY = "advanced/conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "ascore": decimal(6.0, 0.0, 1000.0),
                "width": side(1024),
                "height": side(1024),
                "text": text(multiline=True, dynamicPrompts=True),
                "clip": ("CLIP", {}),
            }
        }

    def encode(self, clip: Clip | None, ascore: float, width: int, height: int, text: str) -> tuple[Conditioning]:
        """The text with the picture's size and how pretty it is to be."""
        clip = held(clip, "clip", "CLIP")
        added: dict[str, object] = {"aesthetic_score": ascore, "width": width, "height": height}
        return (clip.encode_from_tokens_scheduled(clip.tokenize(text), add_dict=added),)


NODES = (CLIPTextEncodeSDXL, CLIPTextEncodeSDXLRefiner)
