"""The UNet of latent diffusion (Rombach et al. 2022, arXiv:2112.10752), its modules named as in its files.

Ours and not diffusers': packs change its blocks by number and its attentions by place. Knows neither files nor noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from executor.inference.hooks import PAIRS, Control, Options, PairPatch, controlled, patched, patches, through
from executor.inference.interruption import stop_if_asked
from executor.inference.network import LayerPlace
from executor.inference.network_config import unet_config
from executor.inference.packing import channels_last
from executor.inference.unet_layers import (
    Downsample,
    ResBlock,
    SpatialTransformer,
    Upsample,
    groups,
    timestep_embedding,
)
from executor.inference.unet_names import diffusers_key, diffusers_names
from executor.inference.video_layers import FRAMES, VideoResBlock, VideoTransformer


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """One layer of a block and its sizes."""

    kind: Literal["conv", "residual", "attention", "down", "up"]
    into: int
    out: int
    depth: int = 0  # transformer blocks of an attention
    own: bool = True  # whether its first attention is among the picture's own cells, and not to the text


BlockShape = tuple[LayerShape, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetShape:
    """Sizes of a UNet, layer by layer."""

    in_channels: int
    out_channels: int
    width: int  # of the first feature maps
    embedding: int  # of the time
    context: int | None  # width of the text's tokens
    input: tuple[BlockShape, ...]
    middle: BlockShape
    output: tuple[BlockShape, ...] = ()
    vector: int | None = None  # width of the vector beside the time (SDXL)
    classes: int | None = None  # numbers beside the time (the x4 upscaler's noise levels)
    linear: bool = False  # whether attentions project by linear layers
    heads: int | None = None  # of every attention, or
    head_width: int | None = None  # the width of each
    video: bool = False  # whether its layers mix frames

    def heads_of(self, width: int) -> int:
        """The number of attention heads at a width."""
        if self.head_width:
            return max(1, width // self.head_width)
        return self.heads or next(n for n in range(8, 0, -1) if width % n == 0)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the attentions, from the picture's side inwards, each once."""
        blocks = (*self.input, self.middle)
        return tuple(dict.fromkeys(layer.out for block in blocks for layer in block if layer.kind == "attention"))


class Block(nn.Sequential):
    """Layers that run one after the other, each with what it takes."""

    def forward(  # type: ignore[override]  # a Sequential takes one input
        self,
        x: Tensor,
        embedding: Tensor,
        context: Tensor | None,
        options: Options,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """x [B, C, H, W] through the layers; `size` is what an upsampling layer makes of it."""
        for layer in self:
            stop_if_asked()
            if isinstance(layer, ResBlock):
                x = through(layer, x, embedding, options)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context, options)
            elif isinstance(layer, Upsample):
                x = layer(x, size)
            else:
                x = layer(x)
        return x


def build_block(layers: BlockShape, shape: UNetShape) -> Block:
    """A block of these layers."""
    return Block(*(build_layer(layer, shape) for layer in layers))


def build_layer(layer: LayerShape, shape: UNetShape) -> nn.Module:
    """One layer."""
    match layer.kind:
        case "conv":
            return nn.Conv2d(layer.into, layer.out, 3, padding=1)
        case "residual":
            return (VideoResBlock if shape.video else ResBlock)(layer.into, layer.out, shape.embedding)
        case "down":
            return Downsample(layer.out)
        case "up":
            return Upsample(layer.out)
    context = layer.out if shape.context is None else shape.context
    heads = shape.heads_of(layer.out)
    if shape.video:
        return VideoTransformer(layer.out, context, heads, layer.depth, linear=shape.linear)
    return SpatialTransformer(layer.out, context, heads, layer.depth, linear=shape.linear, own=layer.own)


def mlp(into: int, width: int) -> nn.Sequential:
    """Two linear layers around a SiLU."""
    return nn.Sequential(nn.Linear(into, width), nn.SiLU(), nn.Linear(width, width))


def label_embedding(shape: UNetShape) -> nn.Module | None:
    """What is added to the time's embedding: of a vector, or of a number; None where there is neither."""
    if shape.classes is not None:
        return nn.Embedding(shape.classes, shape.embedding)
    return None if shape.vector is None else nn.Sequential(mlp(shape.vector, shape.embedding))


class UNet(nn.Module):
    """Noisy latents, timesteps and text to a prediction."""

    def __init__(self, shape: UNetShape) -> None:
        super().__init__()
        self.shape = shape
        self.model_channels, self.in_channels, self.out_channels = shape.width, shape.in_channels, shape.out_channels
        self.time_embed = mlp(shape.width, shape.embedding)
        self.label_emb = label_embedding(shape)
        self.input_blocks = nn.ModuleList(build_block(block, shape) for block in shape.input)
        self.middle_block = build_block(shape.middle, shape)
        self.output_blocks = nn.ModuleList(build_block(block, shape) for block in shape.output)
        last = nn.Conv2d(shape.width, shape.out_channels, 3, padding=1)
        self.out = nn.Sequential(groups(shape.width), nn.SiLU(), last)

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights."""
        return next(self.parameters()).dtype

    @property
    def num_classes(self) -> str | None:
        """Whether it takes a vector beside the time ("sequential"), in the words packs ask by."""
        return "sequential" if self.shape.vector else None

    @property
    def sizes(self) -> dict[str, object]:
        """Its sizes by the names that packs read them by."""
        return unet_config(self.shape)

    @property
    def text_width(self) -> int | None:
        """Width of the text's tokens; None where it takes none."""
        return self.shape.context

    @property
    def vector_width(self) -> int:
        """Width of the vector beside the time, 0 without."""
        return self.shape.vector or 0

    @property
    def kept_width(self) -> int:
        """Width of all keys together that its attentions may keep of one token of text."""
        blocks = (*self.shape.input, self.shape.middle, *self.shape.output)
        return sum(layer.out * layer.depth for block in blocks for layer in block if layer.kind == "attention")

    repeats_text = True
    growing = ()

    def other_names(self) -> dict[str, LayerPlace]:
        """Its layers by the names they have in diffusers' UNet2DConditionModel."""
        names = diffusers_names(self.shape)
        layers = {key.rpartition(".")[0] for key, _ in self.named_parameters()}
        return {diffusers_key(f"{layer}.", names).rstrip("."): LayerPlace(layer) for layer in layers}

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | None = None,
        y: Tensor | None = None,
        control: Control | None = None,
        transformer_options: Options | None = None,
        num_video_frames: int | None = None,
    ) -> Tensor:
        """The prediction [B, C, h, w] for latents x at timesteps [B] under text [B, T, C] and a vector y [B, V].

        `control` holds features to add; `transformer_options` the functions of packs at the patch points. In a network
        of videos each `num_video_frames` rows are one video; without a number all rows are.
        """
        options: Options = {**(transformer_options or {}), "original_shape": list(x.shape), "transformer_index": 0}
        if self.shape.video:
            options[FRAMES] = num_video_frames or len(x)
        left = {side: list(features) for side, features in control.items()} if control else None
        embedding = self.embedded(timesteps, y, x.dtype, options)
        x = x if options.get("patches") else channels_last(x, self)  # packs' functions may count on rows of cells
        skips: list[Tensor] = []
        for number, block in enumerate(self.input_blocks):
            options["block"] = ("input", number)
            x = controlled(block(x, embedding, context, options), left, "input")
            x = patched(options, "input_block_patch", x)
            skips.append(x)
            x = patched(options, "input_block_patch_after_skip", x)
        options["block"] = ("middle", 0)
        x = controlled(self.middle_block(x, embedding, context, options), left, "middle")
        for number, block in enumerate(self.output_blocks):
            options["block"] = ("output", number)
            skip = controlled(skips.pop(), left, "output")
            for patch in patches(options, PAIRS):
                x, skip = cast(PairPatch, patch)(x, skip, options)
            size = (skips[-1].shape[-2], skips[-1].shape[-1]) if skips else None
            x = block(torch.cat([x, skip], dim=1), embedding, context, options, size)
        return self.out(x).contiguous()  # type: ignore[no-any-return]

    def embedded(self, timesteps: Tensor, y: Tensor | None, dtype: torch.dtype, options: Options) -> Tensor:
        """The embedding [B, E] of timesteps [B] and, where the network takes one, of a vector y [B, V]."""
        embedding: Tensor = self.time_embed(timestep_embedding(timesteps, self.model_channels).to(dtype))
        for patch in patches(options, "emb_patch"):
            embedding = patch(embedding, self.model_channels, options)
        if self.label_emb is None or y is None:
            return embedding
        if self.shape.classes is not None:
            return embedding + self.label_emb(y.round().long().flatten()).to(dtype)  # type: ignore[no-any-return]
        both: Tensor = embedding + self.label_emb(y.to(dtype))
        return both
