"""Nodes of Qwen-Image-Edit: prompts that say how to change pictures, which the text model sees too. Know no network.

Sizes are those of diffusers' pipelines (Apache-2.0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.pixels import common_upscale
from executor.inference.text.chat import EDITING, SEEN
from executor.inference.text.kinds import QWEN_IMAGE
from executor.inference.values import Conditioning, Image
from nodes.builtin.conditioning import Options, with_values
from nodes.builtin.inputs import InputTypes, held, text

if TYPE_CHECKING:
    from executor.inference.text.clip import Clip
    from executor.inference.vae import Vae

DRAWN, GLANCED = 1024 * 1024, 384 * 384
"""Pixels of a picture that is changed, and of one that the text model looks at beside others."""
WHOLE = 32
"""Pixels that sides are multiples of."""


class _Edit:
    LISTING = "v3"
    PACK = "comfy_extras.nodes_qwen"
    CATEGORY = "advanced/conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"
    PICTURES: Sequence[str] = ()

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        pictures: dict[str, object] = {name: ("IMAGE", {}) for name in cls.PICTURES}
        return {
            "required": {"clip": ("CLIP", {}), "prompt": text(multiline=True, dynamicPrompts=True)},
            "optional": {"vae": ("VAE", {}), **pictures},
        }


class TextEncodeQwenImageEdit(_Edit):
    """Encodes what to change in a picture, as the text model reads and sees it; with a VAE the network sees it too."""

    PICTURES = ("image",)

    def encode(
        self, clip: Clip | None, prompt: str, vae: Vae | None = None, image: Image | None = None
    ) -> tuple[Conditioning]:
        """The first picture of a batch, scaled to a million pixels; without one, a prompt to draw by."""
        pictures = [] if image is None else [sized(image, DRAWN)]
        read = read_with(held(clip, "clip", "CLIP"), prompt, pictures)
        return (seen_by_network(read, vae, pictures),)


class TextEncodeQwenImageEditPlus(_Edit):
    """Encodes what to make of up to three pictures, which a prompt calls Picture 1, 2 and 3."""

    PICTURES = ("image1", "image2", "image3")

    def encode(
        self,
        clip: Clip | None,
        prompt: str,
        vae: Vae | None = None,
        image1: Image | None = None,
        image2: Image | None = None,
        image3: Image | None = None,
    ) -> tuple[Conditioning]:
        """The first picture of each batch: the text model glances at it, the network sees a million pixels."""
        given = [(number, each) for number, each in enumerate((image1, image2, image3), start=1) if each is not None]
        before = "".join(f"Picture {number}: {SEEN}" for number, _ in given)
        glanced = [sized(each, GLANCED) for _, each in given]
        read = read_with(held(clip, "clip", "CLIP"), before + prompt, glanced, EDITING)
        return (seen_by_network(read, vae, [sized(each, DRAWN) for _, each in given] if vae else []),)


def read_with(clip: Clip, prompt: str, pictures: Sequence[Image], template: str | None = None) -> Conditioning:
    """A prompt as the text model reads it beside pictures; NodeInputError for text models that see none."""
    if pictures and all(encoder.name != QWEN_IMAGE.name for encoder in clip.encoders):
        told = "input 'clip': this text model sees no pictures"
        raise NodeInputError(f"{told}; load {QWEN_IMAGE.title} with type 'qwen_image'")
    tokens = clip.tokenize(prompt, images=list(pictures), llama_template=template)
    return clip.encode_from_tokens_scheduled(tokens)


def seen_by_network(conditioning: Conditioning, vae: Vae | None, pictures: Sequence[Image]) -> Conditioning:
    """A conditioning with the latents of pictures, where there is a VAE that makes them."""
    if vae is None or not pictures:
        return conditioning
    latents: list[Tensor] = [vae.encode(each) for each in pictures]
    beside: Options = {"reference_latents": latents}
    return with_values(conditioning, beside)


def sized(image: Image, pixels: int) -> Image:
    """The first picture of a batch, in its own proportions, at about so many pixels [1, H, W, 3]."""
    height, width = image.shape[1:3]
    tall = max(WHOLE, round(math.sqrt(pixels * height / width) / WHOLE) * WHOLE)
    wide = max(WHOLE, round(math.sqrt(pixels * width / height) / WHOLE) * WHOLE)
    planes = image[:1, :, :, :3].movedim(-1, 1)
    return common_upscale(planes, wide, tall, "lanczos", "disabled").movedim(1, -1)


NODES = (TextEncodeQwenImageEdit, TextEncodeQwenImageEditPlus)
