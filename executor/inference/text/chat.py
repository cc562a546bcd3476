"""Prompts as parts of conversations, which is how language models read them, and pictures within. Knows no encoder.

The words around a prompt are those that Qwen-Image was trained with (Wu et al. 2025, arXiv:2508.02324), as diffusers'
pipelines have them (Apache-2.0). Brackets are text: such models are told in words what counts more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from executor.inference.text.qwen_bpe import PAD, PICTURE, TURN, qwen_bpe
from executor.inference.text.tokens import Numbered, PromptTokenizer, Token, whole_characters

SYSTEM, USER = "<|im_start|>system\n", "<|im_end|>\n<|im_start|>user\n"
ANSWER = "<|im_end|>\n<|im_start|>assistant\n"
DESCRIBE = (
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships of the"
    " objects and background:"
)
CHANGE = (
    "Describe the key features of the input image (color, shape, size, texture, objects, background), then explain how"
    " the user's text instruction should alter or modify the image. Generate a new image that meets the user's"
    " requirements while maintaining consistency with the original input where appropriate."
)
DRAWING = f"{SYSTEM}{DESCRIBE}{USER}{{}}{ANSWER}"
"""What stands around a prompt for a picture; `{}` is the prompt."""
EDITING = f"{SYSTEM}{CHANGE}{USER}{{}}{ANSWER}"
"""What stands around a prompt that says how to change pictures."""
SEEN = "<|vision_start|><|image_pad|><|vision_end|>"
"""A place for one picture."""
USER_TURN = (872, 198)
"""Ids of what the second party's words begin with: `user` and a line's end."""


def chat_ids_of(text: str) -> list[int]:
    """Qwen's ids of a text."""
    ids: list[int] = qwen_bpe().encode(whole_characters(text), add_special_tokens=False).ids
    return ids


@dataclass(frozen=True, kw_only=True)
class ChatTokenizer(PromptTokenizer):
    """Makes one sequence of any length: a prompt within a conversation; a picture is one token [1, H, W, 3]."""

    encode: Callable[[str], list[int]] = chat_ids_of
    end: int = PAD
    pad: int = PAD
    template: str | None = None  # None: as the pictures ask
    pictures: tuple[Tensor, ...] = ()

    def numbered(self, prompt: str) -> list[list[Numbered]]:
        """The one chunk of a prompt; the words that are told beforehand are of group 0."""
        pictures = iter(self.pictures)
        ids = self.encode(self.around(prompt))
        tokens: list[Token] = [next(pictures, each) if each == PICTURE else each for each in ids]
        begin = beginning(tokens)
        return [[Numbered(token, 1.0, int(place >= begin)) for place, token in enumerate(tokens)]]

    def around(self, prompt: str) -> str:
        """A prompt and what stands around it."""
        if self.template is not None:
            return self.template.replace("{}", prompt)
        if not self.pictures:
            return DRAWING.replace("{}", prompt)
        lacking = len(self.pictures) - prompt.count(SEEN)
        return EDITING.replace("{}", SEEN * max(0, lacking) + prompt)

    def set_by(self, options: Mapping[str, object]) -> ChatTokenizer:
        """Itself with the pictures (`images`) and what stands around prompts (`llama_template`) that options set."""
        template, images = options.get("llama_template"), options.get("images")
        pictures = images if isinstance(images, Sequence) else ()
        return replace(
            self,
            template=template if isinstance(template, str) else self.template,
            pictures=tuple(each[:1, :, :, :3] for each in pictures if isinstance(each, Tensor)),
        )


def beginning(tokens: Sequence[Token]) -> int:
    """How many tokens stand before the user's words, which are what models are conditioned on."""
    turns = [place for place, token in enumerate(tokens) if isinstance(token, int) and token == TURN]
    if len(turns) < 2:
        return 0
    behind = turns[1] + 1
    length = len(USER_TURN)
    is_user = tuple(token for token in tokens[behind : behind + length] if isinstance(token, int)) == USER_TURN
    return behind + length if is_user else behind
