"""Qwen-Image (Wu et al. 2025, arXiv:2508.02324): a transformer over tokens of text and picture, named as in its files.

A token is a square of 2 x 2 latent cells. Ours and not diffusers': packs take the place of blocks by number, and
attention is chosen as for all networks here. Knows neither files nor noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from executor.inference.block_patches import double
from executor.inference.flux import added, waves
from executor.inference.flux_tokens import CELLS, SIDE, as_latents, as_tokens
from executor.inference.hooks import Control, Options
from executor.inference.interruption import stop_if_asked
from executor.inference.network import LayerPlace
from executor.inference.qwen_image_layers import DRAWN, NORM_EPS, LastNorm, TimeEmbedder, TransformerBlock
from executor.inference.rotary import axis_widths, rotations

AT_ZERO = "__index_timestep_zero__"
"""A tensor of no meaning but that: files have it with one number or none."""
AXES = 3
"""Of a token's place: its picture, row and column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QwenImageShape:
    """Sizes of such a network."""

    in_features: int = 64  # of a token
    out_features: int = 64
    width: int = 3072
    heads: int = 24
    inner: int = 12288  # width within the layers for each token
    blocks: int = 60
    context: int = 3584  # width of the text's tokens
    waves: int = 256  # that stand for a time
    mark: tuple[int, ...] | None = None  # shape of what says that further pictures have time 0 (Edit 2511)

    @property
    def in_channels(self) -> int:
        """Channels of its latents."""
        return self.in_features // CELLS

    @property
    def out_channels(self) -> int:
        """Channels of its prediction."""
        return self.out_features // CELLS


class QwenImage(nn.Module):
    """Noisy latents, times and text to a velocity."""

    repeats_text = False  # tokens of text take part in every attention
    kept_width = vector_width = 0
    growing = ()  # no LoRAs are known that widen a layer
    patch_size = SIDE

    def __init__(self, shape: QwenImageShape) -> None:
        super().__init__()
        self.shape = shape
        self.in_channels, self.out_channels = shape.in_channels, shape.out_channels
        self.inner_dim, self.num_heads = shape.width, shape.heads
        self.time_text_embed = TimeEmbedder(shape.waves, shape.width)
        self.txt_norm = nn.RMSNorm(shape.context, eps=NORM_EPS)
        self.img_in, self.txt_in = nn.Linear(shape.in_features, shape.width), nn.Linear(shape.context, shape.width)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(shape.width, shape.heads, shape.inner) for _ in range(shape.blocks)
        )
        if shape.mark is not None:
            self.register_buffer(AT_ZERO, torch.empty(shape.mark, dtype=torch.uint8))  # files: of any type
        self.norm_out, self.proj_out = LastNorm(shape.width), nn.Linear(shape.width, shape.out_features)

    # ---------------------------------------------------------------- what it tells of itself

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights."""
        return next(self.parameters()).dtype

    @property
    def sizes(self) -> dict[str, object]:
        """Its sizes by the names that packs read them by."""
        return qwen_image_sizes(self.shape)

    @property
    def text_width(self) -> int:
        """Width of the text's tokens."""
        return self.shape.context

    def other_names(self) -> Mapping[str, LayerPlace]:
        """None: in diffusers its layers have the same names."""
        return {}

    # ---------------------------------------------------------------- latents

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        ref_latents: Sequence[Tensor] | None = None,
        control: Control | None = None,
        transformer_options: Options | None = None,
    ) -> Tensor:
        """The velocity [B, C, F, h, w] for latents x at times [B] under text [B, T, D].

        `ref_latents` [B, C, f, h, w] are further pictures that it sees, each in a layer of its own. Sizes that are odd
        are filled up by the other side's cells.
        """
        (frames, height, width), length = x.shape[-3:], context.shape[1]
        options: Options = {**(transformer_options or {}), "original_shape": list(x.shape)}
        tokens, grids = zip(*(frame_tokens(each) for each in (x, *(ref_latents or ()))), strict=True)
        answer = self.forward_orig(
            torch.cat(tokens, dim=1),
            context,
            timesteps,
            turns_of(grids, length, x, self.shape.width // self.shape.heads),
            control,
            options,
            tokens[0].shape[1],
        )
        rows, columns = grids[0].rows, grids[0].columns
        cells = as_latents(answer[:, : tokens[0].shape[1]].reshape(len(x) * frames, rows * columns, -1), rows, columns)
        whole = cells.reshape(len(x), frames, *cells.shape[1:]).transpose(1, 2)
        return whole[..., :height, :width].contiguous()

    # ---------------------------------------------------------------- tokens

    def forward_orig(
        self,
        img: Tensor,
        txt: Tensor,
        timesteps: Tensor,
        pe: Tensor,
        control: Control | None = None,
        transformer_options: Options | None = None,
        drawn: int | None = None,
    ) -> Tensor:
        """Features [B, N, out] of the pictures' tokens [B, N, in] turned by `pe`, which begins with the text's.

        The first `drawn` tokens, all by default, are of the picture that is drawn.
        """
        options = {} if transformer_options is None else transformer_options
        img, txt = self.img_in(img), self.txt_in(self.txt_norm(txt))
        last = vec = self.time_text_embed(waves(timesteps, self.shape.waves, img))
        if self.shape.mark is not None and drawn is not None and drawn < img.shape[1]:
            at_zero = self.time_text_embed(waves(torch.zeros_like(timesteps), self.shape.waves, img))
            vec, options[DRAWN] = torch.stack([vec, at_zero], dim=1), drawn
        options["total_blocks"] = len(self.transformer_blocks)
        for number, block in enumerate(self.transformer_blocks):
            stop_if_asked()
            img, txt = double(block, number, img, txt, vec, pe, None, options)
            added(img, control, "input", number)
        return self.proj_out(self.norm_out(img, last))  # type: ignore[no-any-return]


def qwen_image_sizes(shape: QwenImageShape) -> dict[str, object]:
    """Sizes of a network by the names that packs read them by."""
    head = shape.width // shape.heads
    return {
        "image_model": "qwen_image",
        "in_channels": shape.in_features,
        "out_channels": shape.out_channels,
        "patch_size": SIDE,
        "num_layers": shape.blocks,
        "attention_head_dim": head,
        "num_attention_heads": shape.heads,
        "joint_attention_dim": shape.context,
        "axes_dims_rope": axis_widths(head),
    }


class Grid(NamedTuple):
    """How many tokens stand behind, below and beside each other."""

    frames: int
    rows: int
    columns: int

    @property
    def end(self) -> int:
        """The row or column, whichever is farther, behind the last one; the middle is at 0."""
        return max(self.rows, self.columns) // 2

    def places(self, layer: int, device: torch.device) -> Tensor:
        """Places [N, 3] of the tokens around the middle of a picture whose first frame is in a layer, as float32."""
        found = torch.empty(*self, AXES, device=device)
        found[..., 0] = torch.arange(layer, layer + self.frames, device=device)[:, None, None]
        found[..., 1] = (torch.arange(self.rows, device=device) - -(-self.rows // 2))[:, None]
        found[..., 2] = torch.arange(self.columns, device=device) - -(-self.columns // 2)
        return found.flatten(0, 2)


def turns_of(grids: Sequence[Grid], length: int, x: Tensor, width: int) -> Tensor:
    """Turns of heads of a width for a text of a length and the pictures behind it, for each of latents x."""
    places = [grid.places(number, x.device) for number, grid in enumerate(grids)]
    behind = max(grid.end for grid in grids)
    text = torch.arange(behind, behind + length, device=x.device, dtype=torch.float32)
    turned = torch.cat([text[:, None].expand(-1, AXES), *places]).expand(len(x), -1, -1)
    return rotations(turned, axis_widths(width))


def frame_tokens(x: Tensor) -> tuple[Tensor, Grid]:
    """Tokens [B, N, 4 C] of latents [B, C, F, h, w], frame after frame, and how they stand."""
    tokens, rows, columns = as_tokens(x.transpose(1, 2).flatten(0, 1))
    return tokens.reshape(len(x), -1, tokens.shape[2]), Grid(x.shape[2], rows, columns)
