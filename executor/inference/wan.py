"""Wan 2.1 and 2.2 (Wan team 2025, arXiv:2503.20314): a transformer over the tokens of a video, named as in its files.

A token is a square of 2 x 2 latent cells of one latent frame. Knows neither files nor noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.inference.block_patches import replaced
from executor.inference.hooks import Options
from executor.inference.interruption import stop_if_asked
from executor.inference.network import LayerPlace
from executor.inference.rotary import rotations
from executor.inference.unet_layers import timestep_embedding
from executor.inference.wan_layers import NORM_EPS, Head, MLPProj, VaceWanAttentionBlock, WanAttentionBlock
from executor.inference.wan_names import wan_names

SIDE = 2
"""Latent cells of a token, each way; along the frames it is one."""
CELLS = SIDE * SIDE
PATCH = (1, SIDE, SIDE)


@dataclass(frozen=True, slots=True, kw_only=True)
class WanShape:
    """Sizes of such a network."""

    in_channels: int = 16  # of its latents with what stands beside them
    out_channels: int = 16
    width: int
    heads: int
    inner: int  # width within the layers for each token
    blocks: int
    context: int = 4096  # width of the text's tokens
    waves: int = 256  # that stand for a time
    picture: int = 0  # width of a leading picture's tokens; 0: none leads
    picture_places: int = 0  # tokens of the two pictures that lead; 0: one leads
    reference: int = 0  # channels of the latents of a picture that is seen before the first frame
    vace_blocks: int = 0
    vace_channels: int = 0  # of what the video is to keep to


class Grid(NamedTuple):
    """How many tokens stand behind, below and beside each other."""

    frames: int
    rows: int
    columns: int


def kind_of(shape: WanShape) -> str:
    """What a network of these sizes is called by packs."""
    if shape.vace_blocks:
        return "vace"
    return "i2v" if shape.picture or shape.in_channels > shape.out_channels else "t2v"


def wan_sizes(shape: WanShape) -> dict[str, object]:
    """Sizes by the names that packs read them by."""
    return {
        "image_model": "wan2.1",
        "model_type": kind_of(shape),
        "in_dim": shape.in_channels,
        "out_dim": shape.out_channels,
        "dim": shape.width,
        "ffn_dim": shape.inner,
        "num_heads": shape.heads,
        "num_layers": shape.blocks,
        "text_dim": shape.context,
        "freq_dim": shape.waves,
        "patch_size": PATCH,
        "window_size": (-1, -1),
        "qk_norm": True,
        "cross_attn_norm": True,
        "eps": NORM_EPS,
    }


class Wan(nn.Module):
    """Noisy latents of a video, times and text to a velocity."""

    repeats_text = True  # text is only attended to
    kept_width = vector_width = 0
    growing = ()  # no LoRAs are known that widen a layer
    patch_size = PATCH

    def __init__(self, shape: WanShape) -> None:
        super().__init__()
        self.shape = shape
        self.in_channels = self.in_dim = shape.in_channels
        self.out_channels = self.out_dim = shape.out_channels
        self.dim, self.num_heads, self.ffn_dim = shape.width, shape.heads, shape.inner
        self.freq_dim, self.text_dim, self.num_layers = shape.waves, shape.context, shape.blocks
        self.model_type = kind_of(shape)
        width, leads = shape.width, bool(shape.picture)
        self.patch_embedding = nn.Conv3d(shape.in_channels, width, PATCH, stride=PATCH)
        self.text_embedding = two_layers(shape.context, width, nn.GELU(approximate="tanh"))
        self.time_embedding = two_layers(shape.waves, width, nn.SiLU())
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        sizes = width, shape.heads, shape.inner
        self.blocks = nn.ModuleList(WanAttentionBlock(*sizes, sees_picture=leads) for _ in range(shape.blocks))
        self.head = Head(width, shape.out_channels * CELLS)
        self.img_emb = MLPProj(shape.picture, width, shape.picture_places) if leads else None
        if shape.reference:
            self.ref_conv = nn.Conv2d(shape.reference, width, SIDE, stride=SIDE)
        if shape.vace_blocks:
            self.vace_patch_embedding = nn.Conv3d(shape.vace_channels, width, PATCH, stride=PATCH)
            self.vace_blocks = nn.ModuleList(
                VaceWanAttentionBlock(*sizes, sees_picture=leads, is_first=number == 0)
                for number in range(shape.vace_blocks)
            )

    # ---------------------------------------------------------------- what it tells of itself

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights."""
        return next(self.parameters()).dtype

    @property
    def sizes(self) -> dict[str, object]:
        """Its sizes by the names that packs read them by."""
        return wan_sizes(self.shape)

    @property
    def text_width(self) -> int:
        """Width of the text's tokens."""
        return self.shape.context

    def other_names(self) -> Mapping[str, LayerPlace]:
        """Its layers by the names they have in diffusers' WanTransformer3DModel."""
        return wan_names(self.shape.blocks, self.shape.vace_blocks)

    # ---------------------------------------------------------------- latents

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        clip_fea: Tensor | None = None,
        time_dim_concat: Tensor | None = None,
        kept: Tensor | None = None,
        drawn: Tensor | None = None,
        transformer_options: Options | None = None,
        **beside: Any,  # noqa: ANN401  (what `forward_orig` takes)
    ) -> Tensor:
        """The velocity [B, C, F, h, w] for latents x at times [B] under text [B, T, D].

        `clip_fea` [B, T, P] is a leading picture as a vision model sees it; `time_dim_concat` [B, C, f, h, w] frames
        that are seen behind the video. Where `drawn` [B, 1, F, 1 or h, 1 or w] is 0, the latents are `kept` and their
        time is 0. `beside` is what the network's kind takes: `reference_latent`, `vace_context` and `vace_strength`.
        Sizes that are odd are filled up by the other side's cells.
        """
        frames, height, width = x.shape[-3:]
        options: Options = {**(transformer_options or {}), "original_shape": list(x.shape)}
        times = timesteps
        if drawn is not None and kept is not None:
            x = torch.cat([torch.lerp(kept, x[:, : kept.shape[1]], drawn), x[:, kept.shape[1] :]], dim=1)
            times = row_times(timesteps, drawn)
        if time_dim_concat is not None:
            behind = functional.pad(time_dim_concat, (0, 0, 0, 0, 0, 0, 0, x.shape[1] - time_dim_concat.shape[1]))
            x, times = torch.cat([x, behind], dim=2), lengthened(times, frames, behind=behind.shape[2])
        x = filled_up(x)
        if beside.get("reference_latent") is not None:
            times = lengthened(times, x.shape[2], before=1)
        more = int(beside.get("reference_latent") is not None)
        grid = Grid(x.shape[2] + more, x.shape[3] // SIDE, x.shape[4] // SIDE)
        freqs = rotations(places(grid, x.device), axis_widths(self.shape.width // self.shape.heads))
        answer = self.forward_orig(x, times, context, clip_fea, freqs, options, **beside)
        return answer[..., :frames, :height, :width].contiguous()

    # ---------------------------------------------------------------- tokens

    def forward_orig(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor,
        clip_fea: Tensor | None = None,
        freqs: Tensor | None = None,
        transformer_options: Options | None = None,
        reference_latent: Tensor | None = None,
        vace_context: Sequence[Tensor] = (),
        vace_strength: Tensor | None = None,
    ) -> Tensor:
        """The velocity for latents x [B, C, F, h, w] of even sides at times t [B], or [B, R] of rows of tokens.

        `freqs` turn the tokens by their places. `reference_latent` [B, C, h, w] is seen before the first frame;
        `vace_context` is what the video is to keep to, each at its `vace_strength` [B, V]. The name is one that packs
        replace it by.
        """
        options = {} if transformer_options is None else transformer_options
        x = self.patch_embedding(x)
        grid, before = Grid(*x.shape[-3:]), 0
        x = x.flatten(2).transpose(1, 2).contiguous()
        if reference_latent is not None:
            first = self.ref_conv(filled_up(reference_latent)).flatten(2).transpose(1, 2)
            x, before = torch.cat([first, x], dim=1), first.shape[1]
        waves = timestep_embedding(t.flatten(), self.shape.waves).to(x)
        e = self.time_embedding(waves).reshape(*t.shape, -1)
        rows = self.time_projection(e).reshape(*t.shape, 6, -1)
        context, seen = self.text_embedding(context), 0
        if clip_fea is not None and self.img_emb is not None:
            picture = self.img_emb(clip_fea)
            context, seen = torch.cat([picture, context], dim=1), picture.shape[1]
        given = {"vec": rows, "pe": freqs, "txt": context}
        hints = self.hints(x, given, seen, vace_context, vace_strength, options)
        options["total_blocks"] = len(self.blocks)
        for number, block in enumerate(self.blocks):
            stop_if_asked()
            x = changed(block, number, {**given, "img": x}, seen, options)
            if number in hints:
                x = x + hints.pop(number)
        return self.unpatchify(self.head(x, e)[:, before:], grid)

    def unpatchify(self, x: Tensor, grid_sizes: Sequence[int]) -> Tensor:
        """Latents [B, C, F, h, w] of tokens [B, N, 4 C] that stand behind, below and beside each other."""
        return as_latents(x, Grid(*grid_sizes))

    def hints(
        self,
        x: Tensor,
        given: Mapping[str, object],
        seen: int,
        controls: Sequence[Tensor],
        strengths: Tensor | None,
        options: Options,
    ) -> dict[int, Tensor]:
        """What the tokens x [B, N, C] are changed by behind each block, by its number, for all controls together."""
        found: dict[int, Tensor] = {}
        if not self.shape.vace_blocks:
            return found
        apart = len(self.blocks) // len(self.vace_blocks)
        for place, control in enumerate(controls):
            strength = x.new_ones(1, 1, 1) if strengths is None else strengths[:, place, None, None].to(x)
            own = self.vace_patch_embedding(filled_up(control).to(x)).flatten(2).transpose(1, 2)
            c = functional.pad(own, (0, 0, 0, x.shape[1] - own.shape[1]))
            for number, block in enumerate(self.vace_blocks):
                stop_if_asked()
                c = block.begun(c, x) if number == 0 else c  # type: ignore[operator]
                c = block(c, given["vec"], given["pe"], given["txt"], seen, options)
                hint = block.hint(c) * strength  # type: ignore[operator]
                found[number * apart] = found[number * apart] + hint if place else hint
        return found


def two_layers(into: int, width: int, activation: nn.Module) -> nn.Sequential:
    """Two linear layers around an activation."""
    return nn.Sequential(nn.Linear(into, width), activation, nn.Linear(width, width))


def changed(block: nn.Module, number: int, given: dict[str, object], seen: int, options: Options) -> Tensor:
    """The tokens (`img`) after a block, or after what a pack put in its place."""
    own = replaced(options, "double_block", number)

    def original(asked: Mapping[str, object]) -> dict[str, Tensor]:
        return {"img": block(asked["img"], asked["vec"], asked["pe"], asked["txt"], seen, options)}

    if own is None:
        return original(given)["img"]
    return own({**given, "transformer_options": options}, {"original_block": original})["img"]


# ---------------------------------------------------------------- times


def row_times(timesteps: Tensor, drawn: Tensor) -> Tensor:
    """Times [B, R] of rows of tokens: of each frame, or of each token where cells of a frame differ; 0 where kept."""
    if drawn.shape[-2:] != (1, 1):
        drawn = filled_up(drawn)[..., ::SIDE, ::SIDE]
    return timesteps[:, None] * drawn.flatten(1).to(timesteps)


def lengthened(times: Tensor, frames: int, *, before: int = 0, behind: int = 0) -> Tensor:
    """Times [B, R] for more frames than these, at the time of the last; [B], one time for all, stay so."""
    if times.ndim == 1:
        return times
    each = times.shape[1] // frames
    last = times[:, -1:]
    return torch.cat([last.expand(-1, each * before), times, last.expand(-1, each * behind)], dim=1)


# ---------------------------------------------------------------- latents as tokens


def filled_up(x: Tensor) -> Tensor:
    """x [..., h, w] with rows and columns from its other sides, so that both are even."""
    below, right = x.shape[-2] % SIDE, x.shape[-1] % SIDE
    if below:
        x = torch.cat([x, x[..., :1, :]], dim=-2)
    return torch.cat([x, x[..., :1]], dim=-1) if right else x


def as_latents(tokens: Tensor, grid: Grid) -> Tensor:
    """Latents [B, C, F, h, w] of tokens [B, N, 4 C]."""
    cells = tokens.reshape(len(tokens), *grid, SIDE, SIDE, -1)
    return cells.permute(0, 6, 1, 2, 4, 3, 5).flatten(5).flatten(3, 4)


def places(grid: Grid, device: torch.device) -> Tensor:
    """Places [1, N, 3] of a video's tokens: frame, row and column, as float32."""
    axes = [torch.arange(count, device=device, dtype=torch.float32) for count in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)[None]


def axis_widths(width: int) -> tuple[int, int, int]:
    """How many of a head's numbers tell a token's frame, row and column: 44, 42 and 42 of 128."""
    side = 2 * (width // 6)
    return width - 2 * side, side, side
