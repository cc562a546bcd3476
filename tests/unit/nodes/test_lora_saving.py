"""LoRAs made of differences, and loaded again."""

from __future__ import annotations

import pytest
import torch

from executor.errors import NodeInputError
from executor.inference.checkpoint import load_checkpoint
from executor.inference.lora import apply_lora
from executor.inference.memory import Memory
from executor.inference.weights import read_weights
from nodes.builtin.lora_saving import LoraSave
from nodes.builtin.model_merging import CLIPMergeSubtract, ModelMergeSubtract
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

CONV, LINEAR = "input_blocks.1.0.in_layers.2.weight", "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
BIAS, NORM = "out.2.bias", "out.0.weight"
TEXT = "clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight"
SIZES = TinySizes(vocabulary=9, widths=(8,), attends=(True,), text_layers=1, vae_widths=(4, 4))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A checkpoint of few weights."""
    path = write_tiny_checkpoint(tmp_path_factory.mktemp("small") / "small.safetensors", SIZES)
    return load_checkpoint(path, Memory(mode="cpu"))


def trained(opened):
    """The model and its text model with changes of rank 2, and others."""
    generator, model, clip = torch.Generator().manual_seed(5), opened.model.clone(), opened.clip.clone()
    for key in (CONV, LINEAR):
        weight = opened.model.model.part.weights[key]
        low = torch.randn(weight.shape[0], 2, generator=generator) @ torch.randn(
            2, weight[0].numel(), generator=generator
        )
        model.add_patches({f"diffusion_model.{key}": (low.reshape(weight.shape) * 0.1,)})
    for key in (BIAS, NORM):
        model.add_patches({f"diffusion_model.{key}": (torch.full(opened.model.model.part.weights[key].shape, 0.5),)})
    weight = opened.clip.get_sd()[TEXT]
    low = torch.randn(weight.shape[0], 1, generator=generator) @ torch.randn(1, weight.shape[1], generator=generator)
    clip.add_patches({TEXT: (low * 0.1,)})
    return model, clip


def saved(place, opened, **options):
    model, clip = trained(opened)
    [model_diff] = ModelMergeSubtract().merge(model, opened.model, 1.0)
    [text_diff] = CLIPMergeSubtract().merge(clip, opened.clip, 1.0)
    given = {"rank": 2, "lora_type": "standard", "bias_diff": True} | options
    LoraSave().save("loras/mine", **given, model_diff=model_diff, text_encoder_diff=text_diff)
    [path] = (place.folders.root("output") / "loras").glob("mine_00001_.safetensors")
    return read_weights(path), model, clip


@pytest.mark.parametrize("form", ["standard", "full_diff"])
def test_a_saved_lora_gives_the_trained_model_back(place, opened, form):
    file, model, clip = saved(place, opened, lora_type=form)
    again, text = apply_lora(file, opened.model, opened.clip, 1.0, 1.0)
    for key in (CONV, LINEAR, BIAS, NORM):
        torch.testing.assert_close(again.patched_weights()[key], model.patched_weights()[key], rtol=0, atol=4e-3)
    torch.testing.assert_close(text.get_sd()[TEXT], clip.get_sd()[TEXT], rtol=0, atol=4e-3)


def test_factors_of_a_lower_rank_are_the_nearest(place, opened):
    file, model, _ = saved(place, opened, rank=1)
    again, _ = apply_lora(file, opened.model, None, 1.0, 0.0)
    pristine = opened.model.model.part.weights[LINEAR].float()
    wanted = model.patched_weights()[LINEAR].float() - pristine
    found = again.patched_weights()[LINEAR].float() - pristine
    lost = torch.linalg.svdvals(wanted)[1:].norm()
    torch.testing.assert_close((wanted - found).norm(), lost, rtol=0.05, atol=1e-3)


def test_without_biases_only_matrices_are_saved(place, opened):
    file, _, _ = saved(place, opened, bias_diff=False)
    assert {name.rpartition(".lora_")[2] for name in file.tensors} == {"up.weight", "down.weight"}
    assert len(file.tensors) == 6  # three weights; what does not differ is left out


def test_nothing_to_save_is_an_error(place):
    with pytest.raises(NodeInputError, match="give 'model_diff' or 'text_encoder_diff'"):
        LoraSave().save("loras/mine", 8, "standard", True)
