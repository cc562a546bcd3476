"""Flux.1 against diffusers' FluxTransformer2DModel: every weight random, the mapping written here anew."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import save_file
from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.checkpoint import load_diffusion_model
from executor.inference.flux import Flux, FluxShape
from executor.inference.flux_tokens import DIAGONAL, INDEX, OFFSET, as_latents, as_tokens, standing
from executor.inference.memory import Memory
from executor.inference.rotary import axis_widths
from executor.inference.sample import sample
from tests.maths.recordings import error
from tests.tiny_flux import TINY_FLUX, random_flux, write_flux

BOUND = 1e-5


def theirs(ours: Flux) -> FluxTransformer2DModel:
    """diffusers' network of the same weights."""
    shape, tensors = ours.shape, dict(ours.state_dict())
    module = FluxTransformer2DModel(
        in_channels=shape.in_features,
        out_channels=shape.out_features,
        num_layers=shape.double_blocks,
        num_single_layers=shape.single_blocks,
        attention_head_dim=shape.width // shape.heads,
        num_attention_heads=shape.heads,
        joint_attention_dim=shape.context,
        pooled_projection_dim=shape.vector,
        guidance_embeds=shape.guidance,
        axes_dims_rope=axis_widths(shape.width // shape.heads),
    )
    module.load_state_dict(renamed(tensors, shape))
    return module.requires_grad_(False).eval()


def renamed(tensors: dict[str, Tensor], shape: FluxShape) -> dict[str, Tensor]:
    """The weights by diffusers' names."""
    found: dict[str, Tensor] = {}

    def take(ours: str, theirs: str, change=lambda tensor: tensor) -> None:
        for kind in ("weight", "bias"):
            if (tensor := tensors.pop(f"{ours}.{kind}", None)) is not None:
                found[f"{theirs}.{kind}"] = change(tensor)

    def split(ours: str, theirs: list[str], sizes: list[int]) -> None:
        for kind in ("weight", "bias"):
            for name, part in zip(theirs, tensors.pop(f"{ours}.{kind}").split(sizes), strict=True):
                found[f"{name}.{kind}"] = part

    take("img_in", "x_embedder")
    take("txt_in", "context_embedder")
    embedders = {"time_in": "timestep_embedder", "vector_in": "text_embedder", "guidance_in": "guidance_embedder"}
    for ours, name in embedders.items():
        take(f"{ours}.in_layer", f"time_text_embed.{name}.linear_1")
        take(f"{ours}.out_layer", f"time_text_embed.{name}.linear_2")
    take("final_layer.linear", "proj_out")
    take("final_layer.adaLN_modulation.1", "norm_out.linear", lambda tensor: torch.cat(tensor.chunk(2)[::-1]))
    for i in range(shape.double_blocks):
        a, b = f"double_blocks.{i}", f"transformer_blocks.{i}"
        take(f"{a}.img_mod.lin", f"{b}.norm1.linear")
        take(f"{a}.txt_mod.lin", f"{b}.norm1_context.linear")
        split(f"{a}.img_attn.qkv", [f"{b}.attn.to_{part}" for part in "qkv"], [shape.width] * 3)
        split(f"{a}.txt_attn.qkv", [f"{b}.attn.add_{part}_proj" for part in "qkv"], [shape.width] * 3)
        take(f"{a}.img_attn.proj", f"{b}.attn.to_out.0")
        take(f"{a}.txt_attn.proj", f"{b}.attn.to_add_out")
        for side, name in (("img", "ff"), ("txt", "ff_context")):
            take(f"{a}.{side}_mlp.0", f"{b}.{name}.net.0.proj")
            take(f"{a}.{side}_mlp.2", f"{b}.{name}.net.2")
        for side, name in (("img", "norm"), ("txt", "norm_added")):
            for long, short in (("query", "q"), ("key", "k")):
                found[f"{b}.attn.{name}_{short}.weight"] = tensors.pop(f"{a}.{side}_attn.norm.{long}_norm.scale")
    for i in range(shape.single_blocks):
        a, b = f"single_blocks.{i}", f"single_transformer_blocks.{i}"
        take(f"{a}.modulation.lin", f"{b}.norm.linear")
        names = [*(f"{b}.attn.to_{part}" for part in "qkv"), f"{b}.proj_mlp"]
        split(f"{a}.linear1", names, [shape.width] * 3 + [shape.inner])
        take(f"{a}.linear2", f"{b}.proj_out")
        for long, short in (("query", "q"), ("key", "k")):
            found[f"{b}.attn.norm_{short}.weight"] = tensors.pop(f"{a}.norm.{long}_norm.scale")
    assert not tensors
    return found


def packed(latents: Tensor) -> Tensor:
    """Latents [B, C, h, w] as diffusers packs them."""
    b, c, h, w = latents.shape
    return latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h // 2 * (w // 2), 4 * c)


def ids(rows: int, columns: int, layer: int = 0, top: int = 0, left: int = 0) -> Tensor:
    """Places of a picture's tokens, [N, 3]."""
    places = [[layer, top + row, left + column] for row in range(rows) for column in range(columns)]
    return torch.tensor(places, dtype=torch.float32)


def answered(module: FluxTransformer2DModel, x: Tensor, given: dict[str, Tensor], pictures: list = ()) -> Tensor:
    """What diffusers' network answers, as tokens of the picture."""
    rows, columns = x.shape[-2] // 2, x.shape[-1] // 2
    tokens, places = [packed(x)], [ids(rows, columns)]
    for picture, place in pictures:
        tokens.append(packed(picture))
        places.append(ids(picture.shape[-2] // 2, picture.shape[-1] // 2, *place))
    with torch.no_grad():
        answer = module(
            hidden_states=torch.cat(tokens, dim=1),
            encoder_hidden_states=given["context"],
            pooled_projections=given["y"],
            timestep=given["timesteps"],
            guidance=given.get("guidance"),
            img_ids=torch.cat(places),
            txt_ids=torch.zeros(given["context"].shape[1], 3),
        ).sample
    return answer[:, : rows * columns]


def inputs(shape: FluxShape, rows: int = 2, tokens: int = 7) -> dict[str, Tensor]:
    """Text, times, vector and guidance for so many rows."""
    torch.manual_seed(3)
    given = {
        "context": torch.randn(rows, tokens, shape.context),
        "timesteps": torch.linspace(0.97, 0.11, rows),
        "y": torch.randn(rows, shape.vector),
    }
    return given | ({"guidance": torch.linspace(3.5, 1.0, rows)} if shape.guidance else {})


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"guidance": False},
        {"width": 96, "heads": 3, "inner": 384, "double_blocks": 1, "single_blocks": 1},
        {"width": 256, "heads": 2, "inner": 1024, "double_blocks": 1, "single_blocks": 2},
    ],
    ids=["dev", "schnell", "three heads", "heads of 128"],
)
def test_it_answers_as_diffusers(change):
    shape = replace(TINY_FLUX, **change)
    ours = random_flux(shape)
    x, given = torch.randn(2, 16, 8, 6), inputs(shape)
    assert error(packed(ours(x, **given)), answered(theirs(ours), x, given)) < BOUND


def test_a_further_picture_stands_below_where_both_ways_are_as_long():
    squares = [torch.zeros(1, 16, 4, 4)] * 2
    assert standing(squares, OFFSET, (2, 2)) == [(1, 0, 0), (1, 2, 0)]


@pytest.mark.parametrize(
    ("method", "places"),
    [
        (OFFSET, [(1, 0, 0), (1, 0, 2), (1, 3, 0)]),
        (INDEX, [(1, 0, 0), (2, 0, 0), (3, 0, 0)]),
        (DIAGONAL, [(0, 4, 3), (0, 7, 5), (0, 9, 7)]),
        ("uxo/uno", [(0, 4, 3), (0, 7, 5), (0, 9, 7)]),
    ],
)
def test_further_pictures_stand_where_the_method_says(method, places):
    ours = random_flux(TINY_FLUX)
    x, given = torch.randn(2, 16, 8, 6), inputs(TINY_FLUX)
    pictures = [torch.randn(2, 16, 6, 4), torch.randn(2, 16, 4, 4), torch.randn(2, 16, 2, 8)]
    assert standing(pictures, method, (4, 3)) == places
    answer = ours(x, **given, ref_latents=pictures, ref_latents_method=method)
    wanted = answered(theirs(ours), x, given, list(zip(pictures, places, strict=True)))
    assert error(packed(answer), wanted) < BOUND


def test_odd_sizes_are_filled_up_by_the_other_sides_cells():
    ours = random_flux(TINY_FLUX)
    x, given = torch.randn(2, 16, 7, 5), inputs(TINY_FLUX)
    rows = torch.cat([x, x[:, :, :1]], dim=2)
    whole = torch.cat([rows, rows[..., :1]], dim=3)
    answer = ours(x, **given)
    assert answer.shape == x.shape
    assert error(answer, ours(whole, **given)[..., :7, :5]) < BOUND


def test_latents_come_back_from_tokens():
    x = torch.randn(2, 3, 8, 6)
    tokens, rows, columns = as_tokens(x)
    assert torch.equal(tokens, packed(x))
    assert torch.equal(as_latents(tokens, rows, columns), x)


def test_a_missing_vector_counts_as_zeros_and_guidance_may_be_left_out():
    ours = random_flux(TINY_FLUX)
    x, given = torch.randn(2, 16, 4, 4), inputs(TINY_FLUX)
    wanted = ours(x, **{**given, "y": torch.zeros(2, 12)})
    assert torch.equal(ours(x, **{**given, "y": None}), wanted)
    told, untold = ours(x, **given), ours(x, **{**given, "guidance": None})
    assert error(told, untold) > 1e-3


@pytest.mark.parametrize(
    ("width", "axes"), [(128, (16, 56, 56)), (64, (8, 28, 28)), (32, (4, 14, 14)), (16, (4, 6, 6))]
)
def test_a_heads_numbers_are_shared_out_to_the_axes(width, axes):
    assert axis_widths(width) == axes


# ---------------------------------------------------------------- a whole sampling


def sampled_by_diffusers(ours: Flux, x: Tensor, given: dict[str, Tensor], sigmas: list[float]) -> Tensor:
    """Euler's steps along the straight path, from noise x [B, C, h, w], as latents."""
    module, (height, width) = theirs(ours), x.shape[-2:]
    for sigma, following in pairwise(sigmas):
        told = {**given, "timesteps": torch.full((len(x),), sigma)}
        tokens = answered(module, x, told)
        cells = tokens.view(len(x), height // 2, width // 2, 16, 2, 2).permute(0, 3, 1, 4, 2, 5)
        x = x + (following - sigma) * cells.reshape(x.shape)
    return x / 0.3611 + 0.1159


@pytest.mark.parametrize("guided", [True, False], ids=["dev", "schnell"])
def test_a_sampling_is_diffusers(guided, tmp_path):
    path = write_flux(tmp_path / "flux.safetensors", guidance=guided)
    model, shape = load_diffusion_model(path, Memory(mode="cpu")), replace(TINY_FLUX, guidance=guided)
    given = {name: each[:1] for name, each in inputs(shape).items()}
    options = {"pooled_output": given["y"], **({"guidance": 2.5} if guided else {})}
    text, empty = [[given["context"], options]], {"samples": torch.zeros(1, 16, 8, 6)}
    settings = {"seed": 7, "steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
    found = sample(model, empty, positive=text, negative=text, **settings)
    times = [1.0, 0.75, 0.5, 0.25]
    # dev: shifted by e^1.15 (the schedule of its release); schnell: as they are
    sigmas = [math.exp(1.15) / (math.exp(1.15) + 1 / time - 1) for time in times] if guided else times
    noise = torch.randn(1, 16, 8, 6, generator=torch.manual_seed(7))
    told = given | ({"guidance": torch.tensor([2.5])} if guided else {})
    assert error(found, sampled_by_diffusers(random_flux(shape), noise, told, [*sigmas, 0.0])) < BOUND


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_a_file_in_diffusers_names_is_the_same_network(prefix, tmp_path):
    ours = random_flux()
    tensors = {prefix + name: each.contiguous() for name, each in theirs(ours).state_dict().items()}
    save_file(tensors, tmp_path / "diffusers.safetensors")
    found = load_diffusion_model(tmp_path / "diffusers.safetensors", Memory(mode="cpu")).model.part.weights
    wanted = ours.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())


def test_scales_of_weights_of_8_bits_are_heeded_in_diffusers_names_too(tmp_path):
    tensors = {name: each.contiguous() for name, each in theirs(random_flux()).state_dict().items()}
    wanted = {}
    for layer, ours in {"attn.to_q": slice(TINY_FLUX.width), "ff.net.2": None}.items():
        name = f"transformer_blocks.0.{layer}"
        stored = (tensors[f"{name}.weight"] * 8).to(torch.float8_e4m3fn)
        tensors |= {f"{name}.weight": stored, f"{name}.weight_scale": torch.tensor(0.125)}
        wanted["img_attn.qkv" if ours else "img_mlp.2"] = (stored.float() / 8, ours or slice(None))
    save_file(tensors, tmp_path / "scaled.safetensors")
    part = load_diffusion_model(tmp_path / "scaled.safetensors", Memory(mode="cpu")).model.part
    for name, (meant, rows) in wanted.items():
        torch.testing.assert_close(
            part.weights[f"double_blocks.0.{name}.weight"][rows].float(), meant, rtol=1e-3, atol=0
        )


def test_a_tensor_that_a_file_in_diffusers_names_lacks_is_named(tmp_path):
    tensors = {name: each.contiguous() for name, each in theirs(random_flux()).state_dict().items()}
    del tensors["transformer_blocks.1.attn.norm_k.weight"]
    save_file(tensors, tmp_path / "diffusers.safetensors")
    with pytest.raises(ModelFileError, match=r"lacks 1 tensors, such as double_blocks\.1\.img_attn\.norm\.key_norm"):
        load_diffusion_model(tmp_path / "diffusers.safetensors", Memory(mode="cpu"))
