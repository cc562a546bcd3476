"""Flux.1 (Black Forest Labs 2024): a transformer over the tokens of text and picture, named as in its files.

A token is a square of 2 x 2 latent cells. Knows neither files nor noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from executor.inference.block_patches import double, replaced
from executor.inference.flux_layers import DoubleStreamBlock, EmbedND, LastLayer, MLPEmbedder, SingleStreamBlock
from executor.inference.flux_names import flux_names, xlabs_names
from executor.inference.flux_tokens import CELLS, OFFSET, SIDE, among_all, as_latents, as_tokens, grid, standing
from executor.inference.hooks import Control, Options
from executor.inference.interruption import stop_if_asked
from executor.inference.network import LayerPlace
from executor.inference.rotary import axis_widths
from executor.inference.unet_layers import timestep_embedding

TIME_FACTOR = 1000.0
"""What times and guidance are multiplied with before they become waves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FluxShape:
    """Sizes of such a network."""

    in_features: int  # of a token
    out_features: int
    width: int
    heads: int
    inner: int  # width within the layers for each token
    double_blocks: int
    single_blocks: int
    context: int  # width of the text's tokens
    vector: int  # width of the text's vector
    waves: int = 256  # that stand for a number
    guidance: bool = True  # whether it is told how strong its guidance is to be
    bias: bool = True  # whether attentions of double blocks add to their projections

    @property
    def in_channels(self) -> int:
        """Channels of its latents with what stands beside them."""
        return self.in_features // CELLS

    @property
    def out_channels(self) -> int:
        """Channels of its prediction."""
        return self.out_features // CELLS


class Flux(nn.Module):
    """Noisy latents, times and text to a prediction."""

    growing = ("img_in",)
    repeats_text = False  # tokens of text take part in every attention
    kept_width = 0
    patch_size = SIDE

    def __init__(self, shape: FluxShape) -> None:
        super().__init__()
        self.shape = shape
        self.params = SimpleNamespace(**flux_sizes(shape))  # as packs read them
        self.in_channels, self.out_channels = shape.in_channels, shape.out_channels
        self.hidden_size, self.num_heads = shape.width, shape.heads
        self.pe_embedder = EmbedND(shape.width // shape.heads, 10000, axis_widths(shape.width // shape.heads))
        self.img_in, self.txt_in = nn.Linear(shape.in_features, shape.width), nn.Linear(shape.context, shape.width)
        self.time_in = MLPEmbedder(shape.waves, shape.width)
        self.vector_in = MLPEmbedder(shape.vector, shape.width)
        self.guidance_in = MLPEmbedder(shape.waves, shape.width) if shape.guidance else nn.Identity()
        sizes = shape.width, shape.heads, shape.inner
        self.double_blocks = nn.ModuleList(
            DoubleStreamBlock(*sizes, bias=shape.bias) for _ in range(shape.double_blocks)
        )
        self.single_blocks = nn.ModuleList(SingleStreamBlock(*sizes) for _ in range(shape.single_blocks))
        self.final_layer = LastLayer(shape.width, shape.out_features)

    # ---------------------------------------------------------------- what it tells of itself

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights."""
        return next(self.parameters()).dtype

    @property
    def sizes(self) -> dict[str, object]:
        """Its sizes by the names that packs read them by."""
        return flux_sizes(self.shape)

    @property
    def taken_channels(self) -> int:
        """Channels that it takes at present: a LoRA may have added some."""
        return self.img_in.weight.shape[1] // CELLS

    @property
    def text_width(self) -> int:
        """Width of the text's tokens."""
        return self.shape.context

    @property
    def vector_width(self) -> int:
        """Width of the text's vector."""
        return self.shape.vector

    def other_names(self) -> Mapping[str, LayerPlace]:
        """Its layers by the names they have in diffusers' FluxTransformer2DModel and in XLabs' LoRAs."""
        doubles, singles, width = self.shape.double_blocks, self.shape.single_blocks, self.shape.width
        return flux_names(doubles, singles, width, self.shape.inner) | xlabs_names(doubles, singles, width)

    # ---------------------------------------------------------------- latents

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor | None = None,
        guidance: Tensor | None = None,
        ref_latents: Sequence[Tensor] | None = None,
        ref_latents_method: str = OFFSET,
        control: Control | None = None,
        transformer_options: Options | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """The prediction [B, C, h, w] for latents x at times [B] under text [B, T, C] and its vector y [B, V].

        `guidance` [B] is how strong it is to be; `ref_latents` [B, C, ...] are further pictures that it sees;
        `attention_mask` [B, T] is added to scores of the text's tokens. Sizes that are odd are filled up by the other
        side's cells.
        """
        height, width = x.shape[-2:]
        options: Options = {**(transformer_options or {}), "original_shape": list(x.shape)}
        tokens, rows, columns = as_tokens(x)
        places = [grid(x, rows, columns)]
        count, further = tokens.shape[1], list(ref_latents or [])
        for latents, place in zip(further, standing(further, ref_latents_method, (rows, columns)), strict=True):
            more, down, across = as_tokens(latents)
            tokens = torch.cat([tokens, more], dim=1)
            places.append(grid(x, down, across, place))
        text_places = x.new_zeros(len(x), context.shape[1], 3, dtype=torch.float32)
        answer = self.forward_orig(
            tokens,
            torch.cat(places, dim=1),
            context,
            text_places,
            timesteps,
            x.new_zeros(len(x), self.shape.vector) if y is None else y,
            guidance,
            control,
            options,
            None if attention_mask is None else among_all(attention_mask, tokens),
        )
        return as_latents(answer[:, :count], rows, columns)[..., :height, :width].contiguous()

    # ---------------------------------------------------------------- tokens

    def forward_orig(
        self,
        img: Tensor,
        img_ids: Tensor,
        txt: Tensor,
        txt_ids: Tensor,
        timesteps: Tensor,
        y: Tensor,
        guidance: Tensor | None = None,
        control: Control | None = None,
        transformer_options: Options | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """Features [B, N, out] of the picture's tokens [B, N, in]; the name is one that packs replace it by."""
        options = {} if transformer_options is None else transformer_options
        img = self.img_in(img)
        vec = self.time_in(waves(timesteps, self.shape.waves, img))
        if self.shape.guidance and guidance is not None:
            vec = vec + self.guidance_in(waves(guidance, self.shape.waves, img))
        vec = vec + self.vector_in(y[:, : self.shape.vector].to(img))
        txt = self.txt_in(txt)
        pe = self.pe_embedder(torch.cat((txt_ids, img_ids), dim=1))
        options["total_blocks"] = len(self.double_blocks)
        for number, block in enumerate(self.double_blocks):
            stop_if_asked()
            img, txt = double(block, number, img, txt, vec, pe, attn_mask, options)
            added(img, control, "input", number)
        img, text = torch.cat((txt, img), dim=1), txt.shape[1]
        options["total_blocks"] = len(self.single_blocks)
        for number, block in enumerate(self.single_blocks):
            stop_if_asked()
            img = single(block, number, img, vec, pe, attn_mask, options)
            added(img[:, text:], control, "output", number)
        return self.final_layer(img[:, text:], vec)  # type: ignore[no-any-return]


def flux_sizes(shape: FluxShape) -> dict[str, object]:
    """Sizes of a network by the names that packs read them by."""
    return {
        "image_model": "flux",
        "in_channels": shape.in_channels,
        "out_channels": shape.out_channels,
        "patch_size": SIDE,
        "vec_in_dim": shape.vector,
        "context_in_dim": shape.context,
        "hidden_size": shape.width,
        "mlp_ratio": shape.inner / shape.width,
        "num_heads": shape.heads,
        "depth": shape.double_blocks,
        "depth_single_blocks": shape.single_blocks,
        "axes_dim": list(axis_widths(shape.width // shape.heads)),
        "theta": 10000,
        "qkv_bias": shape.bias,
        "guidance_embed": shape.guidance,
    }


def waves(numbers: Tensor, width: int, like: Tensor) -> Tensor:
    """Waves [B, width] that stand for numbers [B] in 0..1, in the type of the tokens."""
    return timestep_embedding(numbers.float() * TIME_FACTOR, width).to(like)


def single(
    block: nn.Module, number: int, img: Tensor, vec: Tensor, pe: Tensor, mask: Tensor | None, options: Options
) -> Tensor:
    """All tokens after a single block, or after what a pack put in its place."""
    own = replaced(options, "single_block", number)

    def original(given: Mapping[str, object]) -> dict[str, Tensor]:
        names = ("vec", "pe", "attn_mask")
        out = block(given["img"], **{name: given.get(name) for name in names}, transformer_options=options)
        return {"img": out}

    given = {"img": img, "vec": vec, "pe": pe, "attn_mask": mask}
    if own is None:
        return original(given)["img"]
    return own({**given, "transformer_options": options}, {"original_block": original})["img"]


def added(tokens: Tensor, control: Control | None, side: str, number: int) -> None:
    """Add in place what a ControlNet gives for the tokens behind a block."""
    features = (control or {}).get(side) or []
    feature = features[number] if number < len(features) else None
    if feature is not None:
        tokens[:, : feature.shape[1]] += feature.to(tokens)
