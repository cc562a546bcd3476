"""Nodes that multiply within attentions change these weights, and no others."""

from __future__ import annotations

import pytest
import torch

from executor.inference.patching import calculate_weight
from nodes.builtin.attention_multiply import (
    CLIPAttentionMultiply,
    UNetCrossAttentionMultiply,
    UNetSelfAttentionMultiply,
    UNetTemporalAttentionMultiply,
)
from nodes.builtin.latent_operations import LatentApplyOperation

BLOCK = "diffusion_model.input_blocks.1.1.transformer_blocks.0"
FRAMES = "diffusion_model.input_blocks.1.1.time_stack.0"
LAYERS = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight", "to_out.0.bias")
UNET = [
    f"{block}.{attention}.{layer}" for block in (BLOCK, FRAMES) for attention in ("attn1", "attn2") for layer in LAYERS
]
LAYER = "clip_l.transformer.text_model.encoder.layers.0"
TEXT = [f"{LAYER}.self_attn.{name}_proj.{part}" for name in ("q", "k", "v", "out") for part in ("weight", "bias")]


class Weights:
    """Weights of ones by name, to be patched."""

    def __init__(self, names):
        self.names, self.patches = names, []

    def clone(self):
        """As it is, unpatched."""
        return Weights(self.names)

    def named_weights(self):
        """All weights."""
        return dict.fromkeys(self.names)

    def add_patches(self, patches, strength_patch, strength_model):
        """Keep the patches."""
        self.patches += [(name, (strength_patch, value, strength_model)) for name, value in patches.items()]

    def changed(self):
        """The factor of each weight that is another one."""
        return {name: float(calculate_weight([patch], torch.ones(1), name)) for name, patch in self.patches}


@pytest.mark.parametrize(
    ("node", "attention"), [(UNetSelfAttentionMultiply, "attn1"), (UNetCrossAttentionMultiply, "attn2")]
)
def test_queries_keys_values_and_answers(node, attention):
    factors = dict(zip(LAYERS, (2.0, 3.0, 4.0, 5.0, 5.0), strict=True))
    [changed] = node().patch(Weights([*UNET, f"{BLOCK}.ff.net.2.weight"]), 2.0, 3.0, 4.0, 5.0)
    assert changed.changed() == {
        f"{block}.{attention}.{layer}": factor for block in (BLOCK, FRAMES) for layer, factor in factors.items()
    }


def test_a_factor_of_one_changes_nothing():
    [changed] = UNetSelfAttentionMultiply().patch(Weights(UNET), 1.0, 1.0, 0.0, 1.0)
    assert changed.changed() == {f"{block}.attn1.to_v.weight": 0.0 for block in (BLOCK, FRAMES)}


def test_attention_between_frames_is_apart_from_that_within():
    [changed] = UNetTemporalAttentionMultiply().patch(Weights(UNET), 2.0, 3.0, 4.0, 5.0)
    places = {(BLOCK, "attn1"): 2.0, (FRAMES, "attn1"): 3.0, (BLOCK, "attn2"): 4.0, (FRAMES, "attn2"): 5.0}
    assert changed.changed() == {
        f"{block}.{attention}.to_out.0.{part}": factor
        for (block, attention), factor in places.items()
        for part in ("weight", "bias")
    }


def test_words_attend_to_each_other_more_or_less():
    [changed] = CLIPAttentionMultiply().patch(Weights([*TEXT, f"{LAYER}.mlp.fc1.weight"]), 2.0, 3.0, 4.0, 5.0)
    expected = {"q": 2.0, "k": 3.0, "v": 4.0, "out": 5.0}
    assert changed.changed() == {name: expected[name.split("self_attn.")[1].split("_proj")[0]] for name in TEXT}


def test_an_operation_is_given_a_copy():
    latent = {"samples": torch.ones(1, 4, 2, 2), "kept": "as it is"}
    [changed] = LatentApplyOperation().op(latent, lambda latent: latent.mul_(3))
    assert changed["samples"].unique().tolist() == [3]
    assert changed["kept"] == "as it is"
    assert latent["samples"].unique().tolist() == [1]
