"""Nodes of Stable Diffusion 3 that load its three text encoders and give each a text of its own. Know no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.contract.definition import FileChoices
from executor.contract.types import FileList
from executor.inference.values import Conditioning
from nodes.builtin.inputs import InputTypes, combo, held, text
from nodes.builtin.loaders import read_text_encoders

if TYPE_CHECKING:
    from executor.inference.text.clip import Clip

WRITTEN = text(multiline=True, dynamicPrompts=True)
PACK = "comfy_extras.nodes_sd3"


class CLIPTextEncodeSD3:
    """Encodes a text for each of Stable Diffusion 3's encoders."""

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
                "clip_l": WRITTEN,
                "clip_g": WRITTEN,
                "t5xxl": WRITTEN,
                "empty_padding": combo(["none", "empty_prompt"]),
            }
        }

    def encode(
        self, clip: Clip | None, clip_l: str, clip_g: str, t5xxl: str, empty_padding: str
    ) -> tuple[Conditioning]:
        """The texts of the encoders that the text model has, as the family joins them.

        Without padding an encoder with an empty text reads nothing, which counts as if the model lacked it: zeros
        among CLIP's states, nothing behind them.
        """
        clip = held(clip, "clip", "CLIP")
        tokens = {}
        for name, written in (("l", clip_l), ("g", clip_g), ("t5xxl", t5xxl)):
            made = clip.tokenize(written)
            if name in made:
                tokens[name] = [] if empty_padding == "none" and not written else made[name]
        return (clip.encode_from_tokens_scheduled(tokens),)


class TripleCLIPLoader:
    """Loads the three text encoders of Stable Diffusion 3."""

    LISTING = "v3"
    PACK = PACK
    CATEGORY = "advanced/loaders"
    DESCRIPTION = "Loads CLIP-L, CLIP-G and T5-XXL for Stable Diffusion 3, in any order."
    RETURN_TYPES = ("CLIP",)
    FUNCTION = "load_clip"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        listed = ("COMBO", {"multiselect": False, "options": FileList(FileChoices(source="text_encoders"))})
        return {"required": {f"clip_name{number}": listed for number in (1, 2, 3)}}

    def load_clip(self, clip_name1: str, clip_name2: str, clip_name3: str) -> tuple[Clip]:
        """Load all three; ModelFileError when a file is missing, broken or of another kind."""
        names = {"clip_name1": clip_name1, "clip_name2": clip_name2, "clip_name3": clip_name3}
        return (read_text_encoders(names, "sd3", "default"),)


NODES = (CLIPTextEncodeSD3, TripleCLIPLoader)
