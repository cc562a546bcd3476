"""Networks of Flux.1's ControlNets: copies of its first blocks that also see a picture (XLabs, InstantX 2024).

Layers that Flux.1 has are named as its own, the others as in their files. Know no files and no pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from executor.inference.block_patches import double
from executor.inference.flux import FluxShape, single, waves
from executor.inference.flux_layers import DoubleStreamBlock, EmbedND, MLPEmbedder, SingleStreamBlock
from executor.inference.flux_tokens import as_tokens, grid
from executor.inference.hooks import Options
from executor.inference.interruption import stop_if_asked
from executor.inference.rotary import axis_widths

MAPS, HALVINGS = 16, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FluxControlShape:
    """Sizes of such a network."""

    base: FluxShape  # of the network that it is made like
    hint_features: int  # of the picture's tokens
    kinds: int = 0  # of pictures that it is told apart by a word before the text
    pixels: bool = False  # whether it makes maps of the picture's pixels itself


class FluxControl(nn.Module):
    """Noisy latents, a picture as latents, times and text to what is added behind the blocks of Flux.1."""

    def __init__(self, shape: FluxControlShape) -> None:
        super().__init__()
        self.shape, base = shape, shape.base
        self.pe_embedder = EmbedND(base.width // base.heads, 10000, axis_widths(base.width // base.heads))
        self.img_in, self.txt_in = nn.Linear(base.in_features, base.width), nn.Linear(base.context, base.width)
        self.time_in, self.vector_in = MLPEmbedder(base.waves, base.width), MLPEmbedder(base.vector, base.width)
        self.guidance_in = MLPEmbedder(base.waves, base.width) if base.guidance else nn.Identity()
        self.input_hint_block = hint_layers() if shape.pixels else nn.Identity()
        self.controlnet_x_embedder = nn.Linear(shape.hint_features, base.width)
        self.controlnet_mode_embedder = nn.Embedding(shape.kinds, base.width) if shape.kinds else None
        sizes = base.width, base.heads, base.inner
        doubles, singles = range(base.double_blocks), range(base.single_blocks)
        self.double_blocks = nn.ModuleList(DoubleStreamBlock(*sizes, bias=base.bias) for _ in doubles)
        self.single_blocks = nn.ModuleList(SingleStreamBlock(*sizes) for _ in singles)
        self.controlnet_blocks = nn.ModuleList(nn.Linear(base.width, base.width) for _ in doubles)
        self.controlnet_single_blocks = nn.ModuleList(nn.Linear(base.width, base.width) for _ in singles)

    def forward(
        self,
        x: Tensor,
        hint: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor,
        guidance: Tensor | None = None,
        kind: int | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Features [B, N, C] of each double and each single block for latents x [B, C, h, w] and a picture's.

        A network that sees pixels is given those, [B, 3, 8 h, 8 w] in -1..1.
        `context` [B, T, D], `y` [B, V] and `guidance` [B] are as Flux.1 takes them; `kind` is what the picture shows.
        """
        tokens, rows, columns = as_tokens(x)
        img = self.img_in(tokens) + self.controlnet_x_embedder(as_tokens(self.input_hint_block(hint))[0])
        vec = self.time_in(waves(timesteps, self.shape.base.waves, img))
        if self.shape.base.guidance and guidance is not None:
            vec = vec + self.guidance_in(waves(guidance, self.shape.base.waves, img))
        vec, txt = vec + self.vector_in(y), self.txt_in(context)
        if self.controlnet_mode_embedder is not None and kind is not None:
            word = self.controlnet_mode_embedder(torch.full((len(x), 1), kind, device=x.device))
            txt = torch.cat([word.to(txt), txt], dim=1)
        places = torch.cat([x.new_zeros(len(x), txt.shape[1], 3, dtype=torch.float32), grid(x, rows, columns)], dim=1)
        return self.behind_blocks(img, txt, vec, self.pe_embedder(places))

    def behind_blocks(self, img: Tensor, txt: Tensor, vec: Tensor, pe: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """What stands behind each block, each through a layer of its own."""
        options: Options = {}
        doubles: list[Tensor] = []
        singles: list[Tensor] = []
        for number, block in enumerate(self.double_blocks):
            stop_if_asked()
            img, txt = double(block, number, img, txt, vec, pe, None, options)
            doubles.append(self.controlnet_blocks[number](img))
        both, text = torch.cat((txt, img), dim=1), txt.shape[1]
        for number, block in enumerate(self.single_blocks):
            stop_if_asked()
            both = single(block, number, both, vec, pe, None, options)
            singles.append(self.controlnet_single_blocks[number](both[:, text:]))
        return doubles, singles


def hint_layers() -> nn.Sequential:
    """Convolutions of a picture [B, 3, 8 h, 8 w] to maps [B, 16, h, w]."""
    layers: list[nn.Module] = [nn.Conv2d(3, MAPS, 3, padding=1), nn.SiLU()]
    for _ in range(HALVINGS):
        layers += [nn.Conv2d(MAPS, MAPS, 3, padding=1), nn.SiLU()]
        layers += [nn.Conv2d(MAPS, MAPS, 3, padding=1, stride=2), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(MAPS, MAPS, 3, padding=1))
