"""Layers of the latent video UNet (Blattmann et al. 2023, arXiv:2311.15127), named as in its files.

Each is its picture layer (unet_layers.py) with a temporal one mixed in, which sees every cell's frames as a row. Patch
points are those of the picture layer; temporal attention has none.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from executor.inference.hooks import Options
from executor.inference.unet_layers import (
    CrossAttention,
    FeedForward,
    ResBlock,
    SpatialTransformer,
    groups,
    timestep_embedding,
)

FRAMES = "num_video_frames"
"""What transformer_options call the frames of one video; the rows of a batch are whole videos one after the other."""
KERNEL, PADDING = (3, 1, 1), (1, 0, 0)


def frames_of(options: Options | None, rows: int) -> int:
    """How many frames the videos of a batch of rows have; without a word of it, all rows are one video."""
    return cast(int, (options or {}).get(FRAMES)) or rows


def by_video(x: Tensor, frames: int) -> Tensor:
    """Rows [B * F, ...] as [B, F, ...]."""
    return x.reshape(-1, frames, *x.shape[1:])


class TimeMixer(nn.Module):
    """A learned share of two answers."""

    def __init__(self) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.empty(1))

    def forward(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """sigmoid(mix) of the pictures' answer and the rest of the frames' one."""
        share = self.mix_factor.to(spatial).sigmoid()
        mixed: Tensor = share * spatial + (1.0 - share) * temporal
        return mixed


class TemporalResBlock(nn.Module):
    """A residual block along the frames of each cell."""

    def __init__(self, width: int, embedding: int | None) -> None:
        """`embedding` is the width of the time's vector; None where there is no time (decoders)."""
        super().__init__()
        first, second = (nn.Conv3d(width, width, KERNEL, padding=PADDING) for _ in range(2))
        self.in_layers = nn.Sequential(groups(width), nn.SiLU(), first)
        if embedding is not None:
            self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, width))
        self.out_layers = nn.Sequential(groups(width), nn.SiLU(), nn.Identity(), second)

    def forward(self, x: Tensor, frames: int, embedding: Tensor | None = None) -> Tensor:
        """x [B * F, C, H, W] and the time's vector [B * F, E] to the same shape as x."""
        videos = by_video(x, frames).transpose(1, 2)
        hidden = self.in_layers(videos)
        if embedding is not None:
            told = by_video(self.emb_layers(embedding), frames).transpose(1, 2)
            hidden = hidden + told[..., None, None]
        mixed: Tensor = videos + self.out_layers(hidden)
        return mixed.transpose(1, 2).flatten(0, 1)


class VideoResBlock(ResBlock):
    """A residual block of pictures, then one of frames."""

    def __init__(self, into: int, out: int, embedding: int) -> None:
        super().__init__(into, out, embedding)
        self.time_stack = TemporalResBlock(out, embedding)
        self.time_mixer = TimeMixer()

    def forward(self, x: Tensor, embedding: Tensor, options: Options | None = None) -> Tensor:
        """x [B * F, into, H, W] and the time's vector [B * F, E] to [B * F, out, H, W]."""
        x = super().forward(x, embedding)
        return self.time_mixer(x, self.time_stack(x, frames_of(options, len(x)), embedding))  # type: ignore[no-any-return]


class TemporalTransformerBlock(nn.Module):
    """Feed-forward, attention among frames, attention to the context, feed-forward."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.norm_in, self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(4))
        self.ff_in, self.ff = FeedForward(width, 4 * width), FeedForward(width, 4 * width)
        self.attn1, self.attn2 = CrossAttention(width, width, heads), CrossAttention(width, context, heads)

    def forward(self, x: Tensor, context: Tensor, frames: int) -> Tensor:
        """Tokens [B * F, N, C] of frames under each video's context [B, M, D] to the same shape."""
        cells = x.shape[1]
        x = by_video(x, frames).transpose(1, 2).flatten(0, 1)  # [B * N, F, C]
        x = x + self.ff_in(self.norm_in(x))
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context.repeat_interleave(cells, dim=0))
        x = x + self.ff(self.norm3(x))
        return by_video(x, cells).transpose(1, 2).flatten(0, 1)


class VideoTransformer(SpatialTransformer):
    """Transformer blocks over the cells of each frame, each followed by one over the frames of each cell."""

    def __init__(self, width: int, context: int, heads: int, depth: int, *, linear: bool) -> None:
        super().__init__(width, context, heads, depth, linear=linear)
        self.width = width
        self.time_stack = nn.ModuleList(TemporalTransformerBlock(width, context, heads) for _ in range(depth))
        self.time_pos_embed = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
        self.time_mixer = TimeMixer()

    def run_block(self, number: int, tokens: Tensor, context: Tensor | None, options: Options) -> Tensor:
        """One block's answer mixed with that of its temporal twin, which takes the context of each video's start."""
        spatial = super().run_block(number, tokens, context, options)
        frames = frames_of(options, len(tokens))
        places = torch.arange(frames, device=tokens.device)
        numbered = self.time_pos_embed(timestep_embedding(places, self.width).to(tokens.dtype))
        shown = spatial + numbered.repeat(len(tokens) // frames, 1)[:, None]
        led = tokens if context is None else context
        temporal = self.time_stack[number](shown, led[::frames], frames)
        return self.time_mixer(spatial, temporal)  # type: ignore[no-any-return]
