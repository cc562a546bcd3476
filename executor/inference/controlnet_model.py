"""Networks of ControlNets, their modules named as in their files. Know no pictures and no strengths.

ControlNet: Zhang et al. 2023 (arXiv:2302.05543).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from executor.inference.hooks import Options
from executor.inference.unet import Block, UNetShape, build_block, mlp
from executor.inference.unet_layers import timestep_embedding

# places of the convolutions that read the hint; those that halve its size
HINT_PLACES = range(0, 15, 2)
HALVING_PLACES = (4, 8, 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlNetShape:
    """Sizes of a ControlNet: of its half UNet, and of the layers that read the hint."""

    unet: UNetShape
    hint: tuple[tuple[int, int], ...]  # channels into and out of each convolution


class ControlNet(nn.Module):
    """The encoder of a UNet with a picture added, and a convolution behind each block."""

    def __init__(self, shape: ControlNetShape) -> None:
        super().__init__()
        unet = shape.unet
        self.shape, self.model_channels = shape, unet.width
        self.time_embed = mlp(unet.width, unet.embedding)
        self.label_emb = None if unet.vector is None else nn.Sequential(mlp(unet.vector, unet.embedding))
        self.input_blocks = nn.ModuleList(build_block(block, unet) for block in unet.input)
        widths = [block[-1].out for block in unet.input]
        self.zero_convs = nn.ModuleList(Block(nn.Conv2d(width, width, 1)) for width in widths)
        self.input_hint_block = hint_block(shape.hint)
        self.middle_block = build_block(unet.middle, unet)
        self.middle_block_out = Block(nn.Conv2d(widths[-1], widths[-1], 1))

    def forward(
        self,
        x: Tensor,
        hint: Tensor,
        timesteps: Tensor,
        context: Tensor | None = None,
        y: Tensor | None = None,
        kinds: Sequence[int] = (),
    ) -> tuple[list[Tensor], Tensor]:
        """Features for each skip connection, and for the middle, for latents [B, C, h, w] and a hint [B, C, H, W].

        `kinds` say what the hint shows, for those that were trained on several kinds of pictures.
        """
        embedding = self.embedded(timesteps, y, kinds, x.dtype)
        options: Options = {}
        guided: Tensor | None = self.guided(hint, kinds)
        features: list[Tensor] = []
        for block, behind in zip(self.input_blocks, self.zero_convs, strict=True):
            x = block(x, embedding, context, options)
            if guided is not None:
                x, guided = x + guided, None
            features.append(behind(x, embedding, context, options))
        x = self.middle_block(x, embedding, context, options)
        return features, self.middle_block_out(x, embedding, context, options)

    def embedded(self, timesteps: Tensor, y: Tensor | None, kinds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The embedding [B, E] of timesteps [B] and, where the network takes one, of a vector y [B, V]."""
        embedding: Tensor = self.time_embed(timestep_embedding(timesteps, self.model_channels).to(dtype))
        if self.label_emb is None or y is None:
            return embedding
        both: Tensor = embedding + self.label_emb(y.to(dtype))
        return both

    def guided(self, hint: Tensor, kinds: Sequence[int]) -> Tensor:
        """What the first block's features are led by, [B, C, h, w]."""
        return self.input_hint_block(hint)  # type: ignore[no-any-return]


def hint_block(channels: Sequence[tuple[int, int]]) -> nn.Sequential:
    """Convolutions with SiLU between them, three of which halve the picture's sides."""
    layers: list[nn.Module] = []
    for place, (into, out) in zip(HINT_PLACES, channels, strict=False):
        stride = 2 if place in HALVING_PLACES else 1
        layers += [nn.Conv2d(into, out, 3, padding=1, stride=stride), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
