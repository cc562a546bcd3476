"""Flux.1, Stable Diffusion 3, Wan and a layer of T5 at random weights, and the peers' networks with the same ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from executor.inference.flux import Flux, FluxShape
from executor.inference.flux_tokens import as_latents, as_tokens, grid
from executor.inference.mmdit import MMDiT, MMDiTShape
from executor.inference.network import DiffusionNetwork, LayerPlace
from executor.inference.rotary import axis_widths
from executor.inference.text.t5_model import T5Block, T5Shape, T5TextModel
from executor.inference.wan import Wan, WanShape
from tests.tiny_wan import randomized

HEAD, SMALL_HEAD = 128, 64
SPREAD = 4  # of the width within a block's layers for each token
FLUX_NORMS = {"norm_q": "query", "norm_k": "key", "norm_added_q": "query", "norm_added_k": "key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large a network is that is measured, and what it is given."""

    width: int = 768
    blocks: tuple[int, int] = (2, 4)  # the second kind is Flux.1's own
    context: int = 768  # width of the text's tokens
    vector: int = 768
    latents: tuple[int, ...]  # [B, C, ..., h, w]
    text: int  # tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A network of ours, and what answers as the peer's does with the same weights and inputs."""

    ours: nn.Module
    inputs: dict[str, Tensor]
    theirs: Callable[[], Tensor]


def flux(sizes: Sizes) -> Pair:
    """Flux.1, and diffusers' FluxTransformer2DModel."""
    from diffusers import FluxTransformer2DModel

    heads, (double, single) = sizes.width // HEAD, sizes.blocks
    shape = FluxShape(
        in_features=64, out_features=64, width=sizes.width, heads=heads, inner=SPREAD * sizes.width,
        double_blocks=double, single_blocks=single, context=sizes.context, vector=sizes.vector,
    )  # fmt: skip
    ours = randomized(Flux(shape))
    peer = FluxTransformer2DModel(
        num_layers=double, num_single_layers=single, attention_head_dim=HEAD, num_attention_heads=heads,
        joint_attention_dim=sizes.context, pooled_projection_dim=sizes.vector, guidance_embeds=True,
        axes_dims_rope=axis_widths(HEAD),
    )  # fmt: skip
    theirs, given = filled(peer, ours), inputs(sizes, 0.7) | {"guidance": torch.full((sizes.latents[0],), 3.5)}
    tokens, rows, columns = as_tokens(given["x"])
    places = grid(given["x"][:1], rows, columns)[0].contiguous()

    def answer() -> Tensor:
        found = theirs(
            hidden_states=tokens, encoder_hidden_states=given["context"], pooled_projections=given["y"],
            timestep=given["timesteps"], guidance=given["guidance"], img_ids=places,
            txt_ids=torch.zeros(sizes.text, 3), return_dict=False,
        )  # fmt: skip
        return as_latents(found[0], rows, columns)

    return Pair(ours=ours, inputs=given, theirs=answer)


def sd3(sizes: Sizes) -> Pair:
    """Stable Diffusion 3.5's large kind, and diffusers' SD3Transformer2DModel."""
    from diffusers import SD3Transformer2DModel

    heads, depth = sizes.width // SMALL_HEAD, sum(sizes.blocks)
    shape = MMDiTShape(
        in_channels=16, out_channels=16, patch=2, width=sizes.width, heads=heads, inner=SPREAD * sizes.width,
        depth=depth, context=sizes.context, vector=sizes.vector, frequencies=256, places=64, normed=True,
    )  # fmt: skip
    ours = randomized(MMDiT(shape))
    peer = SD3Transformer2DModel(
        sample_size=64, num_layers=depth, attention_head_dim=SMALL_HEAD, num_attention_heads=heads,
        joint_attention_dim=sizes.context, caption_projection_dim=sizes.width, pooled_projection_dim=sizes.vector,
        pos_embed_max_size=64, qk_norm="rms_norm",
    )  # fmt: skip
    theirs, given = filled(peer, ours), inputs(sizes, 700.0)
    order = (given["x"], given["context"], given["y"], given["timesteps"])
    return Pair(ours=ours, inputs=given, theirs=lambda: theirs(*order, return_dict=False)[0])


def wan(sizes: Sizes) -> Pair:
    """Wan 2.1, and diffusers' WanTransformer3DModel."""
    from diffusers import WanTransformer3DModel

    heads, blocks = sizes.width // HEAD, sizes.blocks[0]
    shape = WanShape(
        width=sizes.width, heads=heads, inner=SPREAD * sizes.width, blocks=blocks, context=sizes.context
    )  # fmt: skip
    ours = randomized(Wan(shape))
    peer = WanTransformer3DModel(
        num_attention_heads=heads, attention_head_dim=HEAD, text_dim=sizes.context,
        ffn_dim=SPREAD * sizes.width, num_layers=blocks,
    )  # fmt: skip
    theirs, given = filled(peer, ours), inputs(sizes, 700.0)
    del given["y"]

    def answer() -> Tensor:
        found: Tensor = theirs(given["x"], given["timesteps"], given["context"], return_dict=False)[0]
        return found

    return Pair(ours=ours, inputs=given, theirs=answer)


def t5_layer(tokens: int) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """The first layer of T5-XXL with the bias it makes, and transformers' with the same weights, on one text."""
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Block as TheirBlock

    shape = T5Shape(layers=1, vocabulary=1)
    with torch.device("meta"):
        model = T5TextModel(shape)
    model = randomized(model.to_empty(device="cpu"))
    block = model.encoder.block[0]
    assert isinstance(block, T5Block)
    config: Any = T5Config(
        d_model=shape.width, d_kv=shape.inner // shape.heads, d_ff=shape.intermediate, num_heads=shape.heads,
        num_layers=1, feed_forward_proj="gated-gelu", dropout_rate=0.0,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        peer = TheirBlock(config, has_relative_attention_bias=True)
    peer.load_state_dict(block.state_dict(), assign=True)
    x = torch.randn(1, tokens, shape.width)
    return lambda: block(x, model.raised(0, x, None)), lambda: peer.eval()(x)[0]


# ---------------------------------------------------------------- the same work for both


def inputs(sizes: Sizes, time: float) -> dict[str, Tensor]:
    """What a call is given, always the same."""
    generator = torch.Generator().manual_seed(0)
    rows = sizes.latents[0]
    return {
        "x": torch.randn(sizes.latents, generator=generator),
        "timesteps": torch.full((rows,), time),
        "context": torch.randn(rows, sizes.text, sizes.context, generator=generator),
        "y": torch.randn(rows, sizes.vector, generator=generator),
    }


def filled(peer: nn.Module, ours: nn.Module) -> nn.Module:
    """diffusers' network with the weights of ours."""
    assert isinstance(ours, DiffusionNetwork)
    names, tensors = ours.other_names(), dict(ours.state_dict())
    peer.load_state_dict({name: weight_of(name, names, tensors) for name in peer.state_dict()})
    return peer.requires_grad_(requires_grad=False).eval()


def weight_of(name: str, names: Mapping[str, LayerPlace], tensors: dict[str, Tensor]) -> Tensor:
    """Our weight, or the part of it, that is diffusers' of a name."""
    path, _, kind = name.rpartition(".")
    place = names.get(path)
    if place is None:
        return tensors[own_name(name)]
    weight = tensors[f"{place.layer}.{kind}"]
    part = weight if place.part is None else weight.narrow(*place.part)
    return part if place.change is None else place.change(part)


def own_name(name: str) -> str:
    """Our name of a weight that is in no layer with another one."""
    name = re.sub(r"^scale_shift_table$", "head.modulation", name.removeprefix("pos_embed.pos_embed") or "pos_embed")
    name = re.sub(r"scale_shift_table$", "modulation", name)
    found = re.fullmatch(r"(single_)?transformer_blocks\.(\d+)\.attn\.(\w+)\.weight", name)
    if found is None:
        return name
    single, number, norm = found.groups()
    side = "" if single else "txt_attn." if "added" in norm else "img_attn."
    return f"{'single' if single else 'double'}_blocks.{number}.{side}norm.{FLUX_NORMS[norm]}_norm.scale"
