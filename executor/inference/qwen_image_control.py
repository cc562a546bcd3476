"""Networks of Qwen-Image's ControlNets: copies of its first blocks that also see a picture (InstantX 2025).

Layers are named as in their files, and as the network's own. Know no files and no pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from executor.inference.block_patches import double
from executor.inference.flux import waves
from executor.inference.hooks import Options
from executor.inference.interruption import stop_if_asked
from executor.inference.qwen_image import QwenImageShape, frame_tokens, turns_of
from executor.inference.qwen_image_layers import NORM_EPS, TimeEmbedder, TransformerBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class QwenImageControlShape:
    """Sizes of such a network."""

    base: QwenImageShape  # of the network that it is made like
    hint_features: int  # of the picture's tokens


class QwenImageControl(nn.Module):
    """Noisy latents, a picture as latents, times and text to what is added behind the blocks of Qwen-Image."""

    def __init__(self, shape: QwenImageControlShape) -> None:
        super().__init__()
        self.shape, base = shape, shape.base
        self.time_text_embed = TimeEmbedder(base.waves, base.width)
        self.txt_norm = nn.RMSNorm(base.context, eps=NORM_EPS)
        self.img_in, self.txt_in = nn.Linear(base.in_features, base.width), nn.Linear(base.context, base.width)
        self.controlnet_x_embedder = nn.Linear(shape.hint_features, base.width)
        blocks = range(base.blocks)
        self.transformer_blocks = nn.ModuleList(TransformerBlock(base.width, base.heads, base.inner) for _ in blocks)
        self.controlnet_blocks = nn.ModuleList(nn.Linear(base.width, base.width) for _ in blocks)

    def forward(self, x: Tensor, hint: Tensor, timesteps: Tensor, context: Tensor) -> list[Tensor]:
        """Features [B, N, C] of each block for latents x [B, C, F, h, w] and a picture's [B, c, F, h, w].

        `timesteps` [B] and `context` [B, T, D] are as Qwen-Image takes them.
        """
        base = self.shape.base
        options: Options = {}
        tokens, grid = frame_tokens(x)
        img = self.img_in(tokens) + self.controlnet_x_embedder(frame_tokens(hint)[0])
        vec, txt = self.time_text_embed(waves(timesteps, base.waves, img)), self.txt_in(self.txt_norm(context))
        pe = turns_of([grid], context.shape[1], x, base.width // base.heads)
        found = []
        for number, block in enumerate(self.transformer_blocks):
            stop_if_asked()
            img, txt = double(block, number, img, txt, vec, pe, None, options)
            found.append(self.controlnet_blocks[number](img))
        return found
