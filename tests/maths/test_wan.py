"""Wan against diffusers' WanTransformer3DModel: every weight random, the mapping written here anew."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from diffusers import WanTransformer3DModel, WanVACETransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from torch import Tensor

from executor.inference.wan import Wan, WanShape, axis_widths, lengthened, row_times
from tests.maths.recordings import error
from tests.tiny_wan import LED, TINY_WAN, VACE, random_wan

BOUND = 1e-5
TEXT = 512  # tokens; diffusers takes all before as a picture's
RENAMED = (
    (r"^time_embedding\.(\d)", lambda m: f"condition_embedder.time_embedder.linear_{int(m[1]) // 2 + 1}"),
    (r"^text_embedding\.(\d)", lambda m: f"condition_embedder.text_embedder.linear_{int(m[1]) // 2 + 1}"),
    (r"^time_projection\.1", "condition_embedder.time_proj"),
    (r"^img_emb\.emb_pos", "condition_embedder.image_embedder.pos_embed"),
    (r"^img_emb\.proj\.0", "condition_embedder.image_embedder.norm1"),
    (r"^img_emb\.proj\.1", "condition_embedder.image_embedder.ff.net.0.proj"),
    (r"^img_emb\.proj\.3", "condition_embedder.image_embedder.ff.net.2"),
    (r"^img_emb\.proj\.4", "condition_embedder.image_embedder.norm2"),
    (r"^head\.head", "proj_out"),
    (r"^head\.modulation", "scale_shift_table"),
    (r"\.modulation$", ".scale_shift_table"),
    (r"\.before_proj", ".proj_in"),
    (r"\.after_proj", ".proj_out"),
    (r"\.self_attn\.", ".attn1."),
    (r"\.cross_attn\.", ".attn2."),
    (r"\.([qkv])\.", r".to_\1."),
    (r"\.o\.", ".to_out.0."),
    (r"\.([kv])_img\.", r".add_\1_proj."),
    (r"\.norm_k_img\.", ".norm_added_k."),
    (r"\.ffn\.0", ".ffn.net.0.proj"),
    (r"\.ffn\.2", ".ffn.net.2"),
    (r"\.norm3\.", ".norm2."),
)


def renamed(name: str) -> str:
    """diffusers' name of a weight."""
    for pattern, theirs in RENAMED:
        name = re.sub(pattern, theirs, name)
    return name


def theirs(ours: Wan) -> WanTransformer3DModel:
    """diffusers' network of the same weights."""
    shape = ours.shape
    sizes = {
        "num_attention_heads": shape.heads,
        "attention_head_dim": shape.width // shape.heads,
        "in_channels": shape.in_channels,
        "out_channels": shape.out_channels,
        "text_dim": shape.context,
        "freq_dim": shape.waves,
        "ffn_dim": shape.inner,
        "num_layers": shape.blocks,
        "image_dim": shape.picture or None,
        "added_kv_proj_dim": shape.width if shape.picture else None,
        "pos_embed_seq_len": shape.picture_places or None,
    }
    if shape.vace_blocks:
        apart = shape.blocks // shape.vace_blocks
        layers = [apart * number for number in range(shape.vace_blocks)]
        module = WanVACETransformer3DModel(**sizes, vace_layers=layers, vace_in_channels=shape.vace_channels)
    else:
        module = WanTransformer3DModel(**sizes)
    module.load_state_dict({renamed(name): tensor for name, tensor in ours.state_dict().items()})
    return module.requires_grad_(False).eval()


def inputs(shape: WanShape, rows: int = 2) -> dict[str, Tensor]:
    """Text and times for so many rows, and a leading picture where one leads."""
    torch.manual_seed(3)
    given = {"context": torch.randn(rows, TEXT, shape.context), "timesteps": torch.linspace(977.0, 111.0, rows)}
    if shape.picture:
        given["clip_fea"] = torch.randn(rows, shape.picture_places or 5, shape.picture)
    return given


def answered(ours: Wan, x: Tensor, given: dict[str, Tensor], times: Tensor | None = None, **more: object) -> Tensor:
    """What diffusers' network answers."""
    seen = given.get("clip_fea")
    if seen is not None and ours.shape.picture_places:  # it takes both pictures as rows of a batch
        seen = seen.reshape(2 * len(x), -1, seen.shape[-1])
    with torch.no_grad():
        return theirs(ours)(
            hidden_states=x,
            timestep=given["timesteps"] if times is None else times,
            encoder_hidden_states=given["context"],
            encoder_hidden_states_image=seen,
            **more,
        ).sample


@pytest.mark.parametrize(
    "change",
    [
        {},
        LED,
        {**LED, "picture_places": 6},
        {"in_channels": 48, "out_channels": 48, "width": 72, "heads": 3, "inner": 100, "blocks": 2},
        {"width": 128, "heads": 1, "blocks": 1},
    ],
    ids=["text", "picture", "first and last picture", "48 channels", "a head of 128"],
)
def test_it_answers_as_diffusers(change):
    shape = replace(TINY_WAN, **change)
    ours, given = random_wan(shape), inputs(shape)
    x = torch.randn(2, shape.in_channels, 3, 6, 4)
    assert error(ours(x, **given), answered(ours, x, given)) < BOUND


def test_what_a_video_keeps_to_counts_as_in_diffusers():
    shape = replace(TINY_WAN, **VACE)
    ours, given = random_wan(shape), inputs(shape)
    x, control = torch.randn(2, 16, 3, 6, 4), torch.randn(2, 96, 3, 6, 4)
    found = ours(x, **given, vace_context=[control], vace_strength=torch.full((2, 1), 0.7))
    wanted = answered(ours, x, given, control_hidden_states=control, control_hidden_states_scale=torch.full((2,), 0.7))
    assert error(found, wanted) < BOUND


def test_two_controls_add_up_and_none_leaves_the_networks_own_answer():
    shape = replace(TINY_WAN, **VACE)
    ours, given = random_wan(shape), inputs(shape)
    x, controls = torch.randn(2, 16, 2, 4, 4), [torch.randn(2, 96, 2, 4, 4) for _ in range(2)]
    alone = ours(x, **given)
    none = ours(x, **given, vace_context=controls, vace_strength=torch.zeros(2, 2))
    one = ours(x, **given, vace_context=controls[1:], vace_strength=torch.ones(2, 1))
    second = ours(x, **given, vace_context=controls, vace_strength=torch.tensor([[0.0, 1.0]] * 2))
    assert error(none, alone) < BOUND
    assert error(second, one) < BOUND
    assert error(one, alone) > 1e-2


@pytest.mark.parametrize("by_cell", [False, True], ids=["frames", "cells"])
def test_kept_parts_are_seen_as_they_are_at_time_zero(by_cell):
    ours, given = random_wan(), inputs(TINY_WAN)
    x, kept = torch.randn(2, 16, 3, 6, 4), torch.randn(1, 16, 3, 6, 4)
    drawn = torch.ones(1, 1, 3, 6, 4) if by_cell else torch.ones(1, 1, 3, 1, 1)
    drawn[:, :, 0] = 0
    if by_cell:
        drawn[..., 2:4, 0:2] = 0
    found = ours(x, **given, kept=kept, drawn=drawn)
    shown = x * drawn + kept * (1 - drawn)
    of_tokens = drawn.expand(1, 1, 3, 6, 4)[:, 0, :, ::2, ::2].flatten(1)
    times = given["timesteps"][:, None] * of_tokens
    assert error(found, answered(ours, shown, given, times)) < BOUND


def test_frames_behind_the_video_are_seen_and_not_answered():
    ours, given = random_wan(), inputs(TINY_WAN)
    x, behind = torch.randn(2, 16, 3, 6, 4), torch.randn(2, 16, 2, 6, 4)
    found = ours(x, **given, time_dim_concat=behind)
    assert error(found, answered(ours, torch.cat([x, behind], dim=2), given)[:, :, :3]) < BOUND


def test_a_picture_before_the_video_stands_where_its_first_frame_would():
    shape = replace(TINY_WAN, reference=16)
    ours, given = random_wan(shape), inputs(shape)
    plain = Wan(TINY_WAN).eval()
    plain.load_state_dict({name: each for name, each in ours.state_dict().items() if "ref_conv" not in name})
    plain.ref_conv = None
    # the same layer for all frames: then the picture is one more frame
    ours.ref_conv.weight.copy_(ours.patch_embedding.weight[:, :, 0])
    ours.ref_conv.bias.copy_(ours.patch_embedding.bias)
    x, first = torch.randn(2, 16, 3, 6, 4), torch.randn(2, 16, 6, 4)
    found = ours(x, **given, reference_latent=first)
    wanted = answered(plain.requires_grad_(False), torch.cat([first[:, :, None], x], dim=2), given)[:, :, 1:]
    assert error(found, wanted) < BOUND
    assert error(ours(x, **given), found) > 1e-3


def test_odd_sizes_are_filled_up_by_the_other_sides_cells():
    ours, given = random_wan(), inputs(TINY_WAN)
    x = torch.randn(2, 16, 2, 7, 5)
    rows = torch.cat([x, x[..., :1, :]], dim=-2)
    whole = torch.cat([rows, rows[..., :1]], dim=-1)
    answer = ours(x, **given)
    assert answer.shape == x.shape
    assert error(answer, ours(whole, **given)[..., :7, :5]) < BOUND


def test_a_pack_may_take_the_place_of_a_block():
    ours, given = random_wan(), inputs(TINY_WAN)
    x, seen = torch.randn(2, 16, 1, 4, 4), []

    def own(args, extra):
        seen.append(sorted(args))
        return {"img": extra["original_block"](args)["img"] * 2}

    options = {"patches_replace": {"dit": {("double_block", 1): own}}}
    answer = ours(x, **given, transformer_options=options)
    assert seen == [["img", "pe", "transformer_options", "txt", "vec"]]
    assert error(answer, ours(x, **given)) > 1e-2


def test_weights_have_the_names_that_diffusers_calls_them_by():
    shape = replace(TINY_WAN, **LED, **VACE)
    ours = random_wan(shape)
    layers = {name.rpartition(".")[0] for name in ours.state_dict() if name.endswith((".weight", ".bias"))}
    places = ours.other_names()
    known = {places[renamed(f"{layer}.")[:-1]].layer for layer in layers if renamed(f"{layer}.")[:-1] in places}
    assert layers - known == {"patch_embedding", "vace_patch_embedding"}  # these have the same name


def test_times_are_of_frames_or_of_tokens():
    times = torch.tensor([10.0, 20.0])
    frames = torch.tensor([0.0, 1.0]).reshape(1, 1, 2, 1, 1)
    assert row_times(times, frames).tolist() == [[0.0, 10.0], [0.0, 20.0]]
    assert row_times(times, frames.expand(1, 1, 2, 3, 4)).shape == (2, 8)


@pytest.mark.parametrize(("width", "axes"), [(128, (44, 42, 42)), (64, (24, 20, 20)), (24, (8, 8, 8))])
def test_a_heads_numbers_are_shared_out_to_the_axes(width, axes):
    assert axis_widths(width) == axes


@pytest.mark.parametrize("change", [{}, LED, VACE], ids=["text", "picture", "kept to"])
def test_names_are_those_that_diffusers_converts(change):
    ours = random_wan(replace(TINY_WAN, **change))
    converted = convert_wan_transformer_to_diffusers(dict(ours.state_dict()))
    assert converted.keys() == theirs(ours).state_dict().keys()


def test_more_frames_have_the_last_ones_time():
    rows = torch.tensor([[0.0, 5.0]])
    assert lengthened(rows, 2, before=1, behind=2).tolist() == [[5.0, 0.0, 5.0, 5.0, 5.0]]
    assert lengthened(torch.tensor([[0.0, 1.0, 5.0, 6.0]]), 2, before=1).tolist() == [[6.0, 6.0, 0.0, 1.0, 5.0, 6.0]]
    assert lengthened(torch.tensor([3.0]), 2, before=1).tolist() == [3.0]


def test_kept_parts_and_a_picture_before_the_video_go_together():
    ours, given = random_wan(replace(TINY_WAN, reference=16)), inputs(TINY_WAN)
    x, kept, first = torch.randn(2, 16, 3, 6, 4), torch.randn(1, 16, 3, 6, 4), torch.randn(2, 16, 6, 4)
    whole = torch.ones(1, 1, 3, 1, 1)
    plain = ours(x, **given, reference_latent=first)
    assert error(ours(x, **given, reference_latent=first, kept=kept, drawn=whole), plain) < BOUND
    whole[:, :, 0] = 0.0
    assert error(ours(x, **given, reference_latent=first, kept=kept, drawn=whole), plain) > 1e-3
