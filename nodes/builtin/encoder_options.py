"""Nodes that give a ControlNet a text of its own, and set how T5 texts are filled up. Know no encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.inference.values import Conditioning
from nodes.builtin.conditioning import entries, with_values
from nodes.builtin.inputs import InputTypes, integer, text

if TYPE_CHECKING:
    from executor.inference.text.clip import Clip

PACK = "comfy_extras.nodes_cond"
CATEGORY = "_for_testing/conditioning"
T5_KINDS = ("t5xxl", "pile_t5xl", "t5base", "mt5xl", "umt5xxl")
MOST_TOKENS = 10000


class CLIPTextEncodeControlnet:
    """Gives ControlNets another text than the model."""

    LISTING = "v3"
    EXPERIMENTAL = True
    PACK = PACK
    CATEGORY = CATEGORY
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        written = text(multiline=True, dynamicPrompts=True)
        return {"required": {"clip": ("CLIP", {}), "conditioning": ("CONDITIONING", {}), "text": written}}

    def encode(self, clip: Clip, conditioning: Conditioning, text: str) -> tuple[Conditioning]:
        """The conditioning with the text for ControlNets on every entry."""
        [(embedding, options)] = entries(clip.encode(text))
        own = {"cross_attn_controlnet": embedding, "pooled_output_controlnet": options.get("pooled_output")}
        return (with_values(conditioning, own),)


class T5TokenizerOptions:
    """Sets how far T5 texts are filled up."""

    LISTING = "v3"
    EXPERIMENTAL = True
    PACK = PACK
    CATEGORY = CATEGORY
    RETURN_TYPES = ("CLIP",)
    FUNCTION = "set_options"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        padding, length = (integer(0, 0, MOST_TOKENS, step=1) for _ in range(2))
        return {"required": {"clip": ("CLIP", {}), "min_padding": padding, "min_length": length}}

    def set_options(self, clip: Clip, min_padding: int, min_length: int) -> tuple[Clip]:
        """A copy whose T5 encoders, if it has any, fill up texts to that many tokens."""
        changed = clip.clone()
        for kind in T5_KINDS:
            changed.set_tokenizer_option(f"{kind}_min_padding", min_padding)
            changed.set_tokenizer_option(f"{kind}_min_length", min_length)
        return (changed,)


NODES = (CLIPTextEncodeControlnet, T5TokenizerOptions)
