"""Nodes of Flux.1: guidance, texts, pictures that Kontext sees, and models mixed layer by layer."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from executor.errors import NodeInputError
from executor.inference.checkpoint import load_checkpoint, load_diffusion_model
from executor.inference.memory import Memory
from executor.inference.sample import sample
from executor.inference.weights import read_weights
from nodes.builtin.edit_model import ReferenceLatent
from nodes.builtin.flux import (
    SIZES,
    CLIPTextEncodeFlux,
    FluxDisableGuidance,
    FluxGuidance,
    FluxKontextImageScale,
    FluxKontextMultiReferenceLatentMethod,
)
from nodes.builtin.merging_by_layer import ModelMergeFlux1
from nodes.builtin.model_patches import SkipLayerGuidanceDiT, SkipLayerGuidanceDiTSimple
from nodes.builtin.model_saving import CheckpointSave, ModelSave
from tests.tiny_checkpoint import random_tensors
from tests.tiny_flux import WRAPPED, flux_tensors, write_flux
from tests.tiny_sd3 import vae_of_sixteen_channels
from tests.tiny_texts import L_WIDTH, T5_WIDTH, whole_texts
from tests.unit.nodes.test_sdxl import ToldClip

CPU = Memory(mode="cpu")
PLAIN = [[torch.zeros(1, 2, 4), {"kept": 1}]]


def options(conditioning):
    [[_, found]] = conditioning
    assert found["kept"] == 1
    return found


def test_each_encoder_reads_its_own_text():
    ([[tokens, told]],) = CLIPTextEncodeFlux().encode(ToldClip("l", "t5xxl"), "short", "long", 2.5)
    assert tokens == {"l": "l:short", "t5xxl": "t5xxl:long"}
    assert told == {"guidance": 2.5}


def test_a_text_model_without_t5_is_refused():
    with pytest.raises(NodeInputError, match="no T5"):
        CLIPTextEncodeFlux().encode(ToldClip("l", "g"), "", "", 3.5)


def test_guidance_is_told_and_taken_away():
    (told,) = FluxGuidance().set_guidance(PLAIN, 2.0)
    (untold,) = FluxDisableGuidance().disable(told)
    assert options(told)["guidance"] == 2.0
    assert options(untold)["guidance"] is None
    assert "guidance" not in options(PLAIN)


def test_pictures_follow_each_other():
    first, second = ({"samples": torch.full((1, 16, 2, 2), float(value))} for value in (1, 2))
    (once,) = ReferenceLatent().append(PLAIN, first)
    (twice,) = ReferenceLatent().append(once, second)
    assert [each[0, 0, 0, 0].item() for each in options(twice)["reference_latents"]] == [1.0, 2.0]
    assert len(options(once)["reference_latents"]) == 1
    assert ReferenceLatent().append(PLAIN) == (PLAIN,)


@pytest.mark.parametrize(("chosen", "told"), [("offset", "offset"), ("index", "index"), ("uxo/uno", "uxo")])
def test_the_method_is_told_to_the_network(chosen, told):
    (changed,) = FluxKontextMultiReferenceLatentMethod().set_method(PLAIN, chosen)
    assert options(changed)["reference_latents_method"] == told


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((10, 10), (1024, 1024)), ((30, 20), (832, 1248)), ((10, 40), (1568, 672)), ((900, 5), (672, 1568))],
)
def test_a_picture_takes_the_size_that_is_nearest_in_proportion(size, wanted):
    (picture,) = FluxKontextImageScale().scale(torch.rand(1, *size, 3))
    assert wanted in SIZES
    assert picture.shape == (1, wanted[1], wanted[0], 3)


def test_what_is_too_long_for_a_size_is_cut_off_at_both_ends():
    image = torch.zeros(1, 10, 40, 3)
    image[:, :, 20:] = 1.0  # of 40 columns some 23 are left
    (picture,) = FluxKontextImageScale().scale(image)
    width = picture.shape[2]
    assert abs(int((picture[0, 0, :, 0] < 0.5).sum()) - width // 2) <= 1
    assert picture[0, :, : width // 4].max() < 0.1
    image[:, :, :4] = 1.0  # beyond what is left
    assert torch.equal(FluxKontextImageScale().scale(image)[0], picture)


@pytest.fixture
def models(tmp_path):
    return [load_diffusion_model(write_flux(tmp_path / f"{seed}.safetensors", seed=seed), CPU) for seed in (0, 1)]


def test_models_are_mixed_layer_by_layer(models):
    first, second = (each.patched_weights() for each in models)
    shares = {"img_in.": 1.0, "double_blocks.1.": 0.25, "single_blocks.0.": 0.0}
    (mixed,) = ModelMergeFlux1().merge(*models, **shares)
    found = mixed.patched_weights()
    for key, share in {
        "img_in.weight": 1.0,
        "double_blocks.1.img_attn.norm.key_norm.scale": 0.25,
        "double_blocks.1.txt_mlp.0.bias": 0.25,
        "single_blocks.0.linear2.weight": 0.0,
        "final_layer.linear.weight": 1.0,
    }.items():
        torch.testing.assert_close(found[key], share * first[key] + (1 - share) * second[key])


def test_a_network_is_saved_and_loads_again(place, models):
    (mixed,) = ModelMergeFlux1().merge(*models, **{"img_in.": 0.5})
    ModelSave().save(mixed, "diffusion_models/mine")
    [path] = (place.folders.root("output") / "diffusion_models").glob("*.safetensors")
    again = load_diffusion_model(path, CPU)
    assert again.family == "flux"
    wanted, found = mixed.patched_weights(), again.patched_weights()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[key], weight) for key, weight in wanted.items())


@pytest.mark.parametrize("node", [SkipLayerGuidanceDiT, SkipLayerGuidanceDiTSimple])
@pytest.mark.parametrize("layers", [("1", ""), ("", "0, 2")])
def test_layers_may_be_left_out_of_the_worse_answer(models, node, layers):
    model, text = models[0], torch.randn(1, 5, 24, generator=torch.manual_seed(1))
    given = (1.0, 0.0, 1.0, 0.0) if node is SkipLayerGuidanceDiT else (0.0, 1.0)
    (changed,) = node().skip_guidance(model, *layers, *given)
    sides = {"positive": [[text, {}]], "negative": [[-text, {}]]}
    settings = {"seed": 1, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple"}
    first, second = (
        sample(each, {"samples": torch.zeros(1, 16, 4, 4)}, **settings, **sides) for each in (model, changed)
    )
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_checkpoint_is_saved_whole(place, tmp_path):
    vae = random_tensors({"vae.": vae_of_sixteen_channels()})
    parts = {**flux_tensors(WRAPPED, context=T5_WIDTH, vector=L_WIDTH), **whole_texts("clip_l", "t5xxl"), **vae}
    save_file(parts, tmp_path / "flux.safetensors")
    found = load_checkpoint(tmp_path / "flux.safetensors", CPU)
    CheckpointSave().save(found.model, found.clip, found.vae, "checkpoints/mine")
    [path] = (place.folders.root("output") / "checkpoints").glob("*.safetensors")
    again = read_weights(path).tensors
    assert set(parts) == set(again)
    assert all(torch.equal(parts[name].reshape(tensor.shape), tensor) for name, tensor in again.items())
