"""The transformer of Stable Diffusion 3 against diffusers' with the same weights, all of them random."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from executor.errors import NodeInputError
from executor.inference.mmdit import MMDiT, MMDiTShape
from tests.tiny_sd3 import TinyMMDiT, network_tensors

TOLERANCE = 1e-5
KINDS = {
    "3 medium": TinyMMDiT(depth=3),
    "3.5 large": TinyMMDiT(depth=3, normed=True),
    "3.5 medium": TinyMMDiT(depth=3, normed=True, dual=(0, 1)),
}


def network(sizes: TinyMMDiT) -> MMDiT:
    """Ours, filled."""
    shape = MMDiTShape(
        in_channels=sizes.channels,
        out_channels=sizes.channels,
        patch=2,
        width=sizes.width,
        heads=sizes.width // sizes.head_width,
        inner=sizes.inner,
        depth=sizes.depth,
        context=sizes.context,
        vector=sizes.vector,
        frequencies=256,
        places=sizes.places,
        normed=sizes.normed,
        dual=frozenset(sizes.dual),
    )
    module = MMDiT(shape)
    module.load_state_dict(network_tensors(sizes))
    return module.requires_grad_(requires_grad=False)


def theirs(sizes: TinyMMDiT) -> torch.nn.Module:
    """Diffusers' module with the same weights, brought over by diffusers."""
    from diffusers import SD3Transformer2DModel
    from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers

    module = SD3Transformer2DModel(
        sample_size=16,
        in_channels=sizes.channels,
        num_layers=sizes.depth,
        attention_head_dim=sizes.head_width,
        num_attention_heads=sizes.width // sizes.head_width,
        joint_attention_dim=sizes.context,
        caption_projection_dim=sizes.width,
        pooled_projection_dim=sizes.vector,
        out_channels=sizes.channels,
        pos_embed_max_size=sizes.places,
        dual_attention_layers=sizes.dual,
        qk_norm="rms_norm" if sizes.normed else None,
    )
    # the size of the feed-forward is not among its settings
    for block in module.transformer_blocks:
        for side in (block.ff, block.ff_context):
            if side is not None:
                side.net[0].proj = torch.nn.Linear(sizes.width, sizes.inner)
                side.net[2] = torch.nn.Linear(sizes.inner, sizes.width)
    module.load_state_dict(convert_sd3_transformer_checkpoint_to_diffusers(network_tensors(sizes)))
    return module.requires_grad_(requires_grad=False)


def given(sizes: TinyMMDiT, rows: int = 8, columns: int = 12, batch: int = 2) -> dict[str, torch.Tensor]:
    """What a call is given."""
    generator = torch.Generator().manual_seed(7)
    return {
        "x": torch.randn(batch, sizes.channels, rows, columns, generator=generator),
        "timesteps": torch.tensor([871.3, 12.5])[:batch],
        "context": torch.randn(batch, 9, sizes.context, generator=generator),
        "y": torch.randn(batch, sizes.vector, generator=generator),
    }


def answer_of_theirs(sizes: TinyMMDiT, call: dict[str, torch.Tensor], **more: object) -> torch.Tensor:
    """What diffusers' module makes of such a call."""
    return theirs(sizes)(call["x"], call["context"], call["y"], call["timesteps"], return_dict=False, **more)[0]


def close(ours: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two answers are the same but for rounding."""
    return ((ours - other).abs().max() / other.abs().max()).item() < TOLERANCE


@pytest.mark.parametrize("sizes", KINDS.values(), ids=KINDS)
def test_it_answers_as_diffusers_module_with_the_same_weights(sizes):
    call = given(sizes)
    assert close(network(sizes)(**call), answer_of_theirs(sizes, call))


def test_without_a_pooled_text_the_time_alone_leads():
    sizes = KINDS["3 medium"]
    call = given(sizes) | {"y": None}
    module, other = network(sizes), theirs(sizes)
    other.time_text_embed.text_embedder.linear_2.weight.zero_()
    other.time_text_embed.text_embedder.linear_2.bias.zero_()
    wanted = other(call["x"], call["context"], torch.zeros(2, sizes.vector), call["timesteps"], return_dict=False)[0]
    assert close(module(**call), wanted)


def test_odd_sizes_are_padded_from_the_other_side_and_cut_back():
    sizes = KINDS["3.5 medium"]
    call = given(sizes, rows=7, columns=9)
    wide = functional.pad(call["x"], (0, 1, 0, 1), mode="circular")
    assert close(network(sizes)(**call), answer_of_theirs(sizes, call | {"x": wide})[..., :7, :9])


def test_blocks_that_hand_on_what_they_are_given_are_left_out_as_in_diffusers():
    sizes = KINDS["3.5 medium"]
    call = given(sizes)
    hand_on = {("double_block", number): lambda given, extra: given for number in (0, 2)}
    options = {"patches_replace": {"dit": hand_on}}
    wanted = answer_of_theirs(sizes, call, skip_layers=[0, 2])
    assert close(network(sizes)(**call, transformer_options=options), wanted)


def test_a_replacement_may_call_the_block_itself():
    sizes, seen = KINDS["3.5 large"], []

    def watch(given, extra):
        seen.append((sorted(given), given["img"].shape[1], given["txt"].shape[1]))
        return extra["original_block"](given)

    call = given(sizes)
    options = {"patches_replace": {"dit": {("double_block", 1): watch}}}
    module = network(sizes)
    assert torch.equal(module(**call, transformer_options=options), module(**call))
    assert seen == [(["attn_mask", "img", "pe", "transformer_options", "txt", "vec"], 24, 9)]


def test_features_of_a_control_are_added_after_blocks_as_in_diffusers():
    sizes = KINDS["3 medium"]
    call = given(sizes)
    features = [torch.randn(2, 24, sizes.width, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    wanted = answer_of_theirs(sizes, call, block_controlnet_hidden_states=[*features, features[1]])
    assert close(network(sizes)(**call, control={"output": features}), wanted)


def test_features_of_another_familys_control_are_left_out():
    sizes = KINDS["3 medium"]
    call, module = given(sizes), network(sizes)
    foreign = {"output": [torch.ones(2, 320, 4, 6), None], "middle": [torch.ones(2, 320, 4, 6)]}
    assert torch.equal(module(**call, control=foreign), module(**call))


def test_attention_may_be_replaced_for_one_call():
    sizes = replace(KINDS["3.5 medium"], depth=2, dual=(1,))
    call, module, heads = given(sizes), network(sizes), []

    def count(attend, query, key, value, number, mask=None, transformer_options=None):
        heads.append((number, query.shape[1], transformer_options["block"]))
        return attend(query, key, value, number, mask=mask)

    module(**call, transformer_options={"optimized_attention_override": count})
    first, second = ("double_block", 0), ("double_block", 1)
    assert heads == [(2, 33, first), (2, 33, second), (2, 24, second)]


def test_pictures_beyond_the_table_of_places_are_refused_with_the_size_that_fits():
    sizes = KINDS["3 medium"]
    with pytest.raises(NodeInputError, match="up to 24 x 24 cells; these are of 26 x 8"):
        network(sizes)(**given(sizes, rows=8, columns=26))


def test_a_call_stops_between_blocks_when_the_user_asks(monkeypatch):
    sizes, passed = KINDS["3 medium"], []

    class StopError(Exception):
        pass

    def stop():
        if len(passed) == 2:
            raise StopError
        passed.append(1)

    monkeypatch.setattr("executor.inference.mmdit.stop_if_asked", stop)
    with pytest.raises(StopError):
        network(sizes)(**given(sizes))


def test_half_precision_answers_in_half_precision():
    sizes = KINDS["3.5 medium"]
    module = network(sizes).to(torch.bfloat16)
    call = {name: value.bfloat16() for name, value in given(sizes).items()}
    assert module(**call).dtype == torch.bfloat16
