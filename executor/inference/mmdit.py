"""The transformer of Stable Diffusion 3 (Esser et al. 2024, arXiv:2403.03206), its modules named as in its files.

Picture and text run side by side in blocks of their own weights and attend to each other. Ours and not diffusers':
packs take the place of blocks by number. Knows neither files nor noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.errors import NodeInputError
from executor.inference.block_patches import double
from executor.inference.hooks import Control, Options, spreads, tell_misfit
from executor.inference.interruption import stop_if_asked
from executor.inference.mmdit_layers import BlockSizes, FinalLayer, JointBlock, VectorEmbedder
from executor.inference.mmdit_names import diffusers_layers
from executor.inference.network import LayerPlace
from executor.inference.unet_layers import timestep_embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class MMDiTShape:
    """Sizes of such a transformer."""

    in_channels: int
    out_channels: int
    patch: int  # cells of a token, each way
    width: int
    heads: int
    inner: int  # width within its feed-forward layers
    depth: int  # joint blocks
    context: int  # width of the text's tokens
    vector: int  # width of the pooled text
    frequencies: int  # of the time
    places: int  # tokens along a side of the table of places
    normed: bool = False  # whether queries and keys are at root mean square 1 (3.5)
    dual: frozenset[int] = frozenset()  # blocks in which the picture also attends to itself alone (3.5 medium)

    def block(self, number: int) -> BlockSizes:
        """Sizes of a joint block; the last one has no use for what it makes of the text."""
        return BlockSizes(
            width=self.width,
            heads=self.heads,
            inner=self.inner,
            normed=self.normed,
            dual=number in self.dual,
            last=number == self.depth - 1,
        )


class PatchEmbedder(nn.Module):
    """Squares of cells to tokens."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] to [B, N, width], row by row."""
        tokens: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return tokens


class MMDiT(nn.Module):
    """Noisy latents, timesteps and text to a velocity."""

    pos_embed: Tensor

    def __init__(self, shape: MMDiTShape) -> None:
        super().__init__()
        self.shape = shape
        self.in_channels, self.out_channels, self.patch_size = shape.in_channels, shape.out_channels, shape.patch
        self.x_embedder = PatchEmbedder(shape.in_channels, shape.patch, shape.width)
        self.t_embedder = VectorEmbedder(shape.frequencies, shape.width)
        self.y_embedder = VectorEmbedder(shape.vector, shape.width)
        self.context_embedder = nn.Linear(shape.context, shape.width)
        self.register_buffer("pos_embed", torch.zeros(1, shape.places**2, shape.width))
        self.joint_blocks = nn.ModuleList(JointBlock(shape.block(number)) for number in range(shape.depth))
        self.final_layer = FinalLayer(shape.width, shape.patch**2 * shape.out_channels)

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights."""
        return next(self.parameters()).dtype

    @property
    def sizes(self) -> dict[str, object]:
        """Its sizes by the names that packs read them by."""
        return mmdit_sizes(self.shape)

    @property
    def text_width(self) -> int:
        """Width of the text's tokens."""
        return self.shape.context

    @property
    def vector_width(self) -> int:
        """Width of the pooled text."""
        return self.shape.vector

    kept_width = 0  # keys of the text depend on the picture
    repeats_text = False  # tokens that come twice take weight off the picture's
    growing = ()

    def other_names(self) -> dict[str, LayerPlace]:
        """Its layers by the names they have in diffusers' SD3Transformer2DModel."""
        return diffusers_layers(self.shape.depth, self.shape.width)

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor | None = None,
        control: Control | None = None,
        transformer_options: Options | None = None,
    ) -> Tensor:
        """The velocity [B, C, h, w] for latents x at timesteps [B] under text [B, T, D] and its pooled vector y [B, V].

        `control` holds features to add after blocks; `transformer_options` the functions of packs at the patch points.
        Raises NodeInputError for pictures larger than the table of places.
        """
        options: Options = {**(transformer_options or {}), "original_shape": list(x.shape)}
        height, width = x.shape[-2:]
        x = padded(x, self.shape.patch)
        rows, columns = x.shape[-2] // self.shape.patch, x.shape[-1] // self.shape.patch
        img = self.tokens(x)
        vec = self.embedded(timesteps, y, x.dtype)
        txt = self.context_embedder(context)
        options["total_blocks"] = self.shape.depth
        features = (control or {}).get("output", [])
        for number, block in enumerate(self.joint_blocks):
            stop_if_asked()
            img, txt = double(block, number, img, txt, vec, None, None, options)
            if number < len(features):
                img = steered(img, features[number])
        return self.cells(self.final_layer(img, vec), rows, columns)[..., :height, :width].contiguous()

    def tokens(self, x: Tensor) -> Tensor:
        """Latents x [B, C, H, W], whole patches, as tokens [B, N, width] that know where they stand."""
        rows, columns = x.shape[-2] // self.shape.patch, x.shape[-1] // self.shape.patch
        tokens: Tensor = self.x_embedder(x) + places_within(self.pos_embed, rows, columns, self.shape.patch).to(x)
        return tokens

    def embedded(self, timesteps: Tensor, y: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The vector [B, width] of timesteps [B] and, where one is given, of the pooled text y [B, V]."""
        vec: Tensor = self.t_embedder(timestep_embedding(timesteps, self.shape.frequencies).to(dtype))
        return vec if y is None else vec + self.y_embedder(y.to(dtype))

    def cells(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        """Tokens [B, N, patch * patch * C] as maps [B, C, H, W]."""
        patch = self.shape.patch
        squares = tokens.reshape(tokens.shape[0], rows, columns, patch, patch, -1).permute(0, 5, 1, 3, 2, 4)
        return squares.reshape(*squares.shape[:2], rows * patch, columns * patch)


def mmdit_sizes(shape: MMDiTShape) -> dict[str, object]:
    """Sizes by the names of the published code's settings."""
    text = {"in_features": shape.context, "out_features": shape.width}
    return {
        "in_channels": shape.in_channels,
        "out_channels": shape.out_channels,
        "patch_size": shape.patch,
        "input_size": None,
        "depth": shape.depth,
        "num_heads": shape.heads,
        "adm_in_channels": shape.vector,
        "context_embedder_config": {"target": "torch.nn.Linear", "params": text},
        "num_patches": shape.places**2,
        "pos_embed_max_size": shape.places,
        "pos_embed_scaling_factor": None,
        "qk_norm": "rms" if shape.normed else None,
        "x_block_self_attn_layers": sorted(shape.dual),
    }


def places_within(table: Tensor, rows: int, columns: int, patch: int) -> Tensor:
    """What tells tokens where they stand [1, rows * columns, C]: the middle of a square table [1, places, C].

    Raises NodeInputError when the table is smaller.
    """
    side = isqrt(table.shape[1])
    if max(rows, columns) > side:
        most, asked = side * patch, (columns * patch, rows * patch)
        told = f"this model draws latents of up to {most} x {most} cells; these are of {asked[0]} x {asked[1]}"
        raise NodeInputError(told)
    top, left = (side - rows) // 2, (side - columns) // 2
    square = table.reshape(1, side, side, -1)
    return square[:, top : top + rows, left : left + columns].flatten(1, 2)


def padded(x: Tensor, patch: int) -> Tensor:
    """x [B, C, H, W] with rows and columns from its other sides, so that both are whole numbers of patches."""
    below, right = -x.shape[-2] % patch, -x.shape[-1] % patch
    return functional.pad(x, (0, right, 0, below), mode="circular") if below or right else x


def steered(img: Tensor, feature: Tensor | None) -> Tensor:
    """Picture tokens [B, N, C] with a control's feature, where it fits."""
    if feature is None:
        return img
    if not spreads(feature.shape, img.shape):
        tell_misfit(tuple(feature.shape), "output", tuple(img.shape))
        return img
    return img + feature.to(img)
