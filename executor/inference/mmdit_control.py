"""Networks of Stable Diffusion 3's ControlNets, layers named as the transformer's own.

Two kinds: copies of the transformer's first blocks, which read picture and text (InstantX, alimama), and blocks that
read the picture alone and take the transformer's own tokens (Stability AI's of 3.5 large).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from executor.inference.block_patches import double
from executor.inference.interruption import stop_if_asked
from executor.inference.mmdit import MMDiTShape, PatchEmbedder, padded, places_within
from executor.inference.mmdit_layers import BlockSizes, HalfBlock, JointBlock, VectorEmbedder
from executor.inference.unet_layers import timestep_embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class MMDiTControlShape:
    """Sizes of such a network."""

    base: MMDiTShape  # of the transformer that it is made like; of one without own tokens the places are none
    hint: int  # channels of the picture to follow

    @property
    def reads_text(self) -> bool:
        """Whether it reads the text and makes tokens of the latents itself."""
        return self.base.places > 0

    def block(self, number: int) -> BlockSizes:
        """Sizes of a block; none is the last."""
        return replace(self.base.block(number), last=False)


class MMDiTControl(nn.Module):
    """Noisy latents and a picture as latents to what is added behind the transformer's blocks."""

    pos_embed: Tensor

    def __init__(self, shape: MMDiTControlShape) -> None:
        super().__init__()
        self.shape, base = shape, shape.base
        self.t_embedder = VectorEmbedder(base.frequencies, base.width)
        self.y_embedder = VectorEmbedder(base.vector, base.width)
        self.pos_embed_input = PatchEmbedder(shape.hint, base.patch, base.width)
        if shape.reads_text:
            self.x_embedder = PatchEmbedder(base.in_channels, base.patch, base.width)
            self.context_embedder = nn.Linear(base.context, base.width)
            self.register_buffer("pos_embed", torch.zeros(1, base.places**2, base.width))
        self.joint_blocks = nn.ModuleList(made(shape, number) for number in range(base.depth))
        self.controlnet_blocks = nn.ModuleList(nn.Linear(base.width, base.width) for _ in range(base.depth))

    def forward(
        self,
        x: Tensor,
        hint: Tensor,
        timesteps: Tensor,
        context: Tensor | None,
        y: Tensor,
        tokens: Tensor | None = None,
    ) -> list[Tensor]:
        """Features [B, N, C] of each block for latents x [B, C, h, w] and the picture's latents [B, H, h, w].

        `context` [B, T, D] and `y` [B, V] are the text; `tokens` [B, N, C] the transformer's own of the latents, for a
        network that reads no text.
        """
        patch = self.shape.base.patch
        x, hint = padded(x, patch), padded(hint, patch)
        if tokens is None:
            rows, columns = x.shape[-2] // patch, x.shape[-1] // patch
            tokens = self.x_embedder(x) + places_within(self.pos_embed, rows, columns, patch).to(x)
        img = tokens
        img = img + self.pos_embed_input(hint)
        vec = self.t_embedder(timestep_embedding(timesteps, self.shape.base.frequencies).to(x.dtype))
        vec = vec + self.y_embedder(y)
        behind = self.with_text(img, context, vec) if self.shape.reads_text else self.alone(img, vec)
        return [layer(tokens) for layer, tokens in zip(self.controlnet_blocks, behind, strict=True)]

    def with_text(self, img: Tensor, context: Tensor | None, vec: Tensor) -> list[Tensor]:
        """The picture's tokens behind each block of picture and text."""
        txt, behind, options = self.context_embedder(context), [], dict[str, object]()
        for number, block in enumerate(self.joint_blocks):
            stop_if_asked()
            img, txt = double(block, number, img, txt, vec, None, None, options)
            behind.append(img)
        return behind

    def alone(self, img: Tensor, vec: Tensor) -> list[Tensor]:
        """The picture's tokens behind each block of the picture alone."""
        behind = []
        for block in self.joint_blocks:
            stop_if_asked()
            img = block.get_submodule("x_block")(img, vec)
            behind.append(img)
        return behind


def made(shape: MMDiTControlShape, number: int) -> nn.Module:
    """A block: of picture and text, or the picture's half alone."""
    sizes = shape.block(number)
    return JointBlock(sizes) if shape.reads_text else nn.ModuleDict({"x_block": HalfBlock(sizes)})
