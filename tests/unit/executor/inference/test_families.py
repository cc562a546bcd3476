"""Modules built from files: every tensor placed, none left, narrow models with fitting norms."""

from pathlib import Path

import pytest
import torch
from torch import nn

from executor.errors import ModelFileError
from executor.inference.checkpoint import Checkpoint
from executor.inference.detect import detect
from executor.inference.families import FAMILIES
from executor.inference.families.base import Parts
from executor.inference.weights import WeightFile
from tests.tiny_checkpoint import UNET, VAE, TinySizes, tiny_tensors
from tests.tiny_families import tensors_of

SIZES = {
    "two levels": TinySizes(vocabulary=100),
    "one level": TinySizes(vocabulary=100, widths=(16,), attends=(True,)),
    "as SD1.5": TinySizes(vocabulary=100, widths=(16, 16, 24, 24), attends=(True, True, True, False), layers=2),
    "deep": TinySizes(vocabulary=100, widths=(16, 32), attends=(False, True), depth=2, vae_layers=2),
}


def build(tensors: dict[str, torch.Tensor]) -> Parts:
    """The modules of a file with these tensors."""
    file = WeightFile(path=Path("m.safetensors"), tensors=tensors)
    family, detection = detect(file, FAMILIES)
    return family.build(file, detection)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_every_tensor_of_the_file_has_a_place(sizes):
    tensors = tiny_tensors(sizes)
    parts = build(tensors)
    placed = {*parts.diffusion.part.keys, *parts.texts[0][1].keys, *parts.vae.keys}
    assert {name for name in tensors if name not in placed} == {
        "cond_stage_model.transformer.text_model.embeddings.position_ids"
    }


OTHERS = {
    "SD2": ("sd2", {}),
    "SD2, deep": ("sd2", {"widths": (16, 24, 32), "attends": (True, True, False), "layers": 2, "depth": 2}),
    "SDXL": ("sdxl", {}),
    "as SDXL": ("sdxl", {"widths": (16, 24, 32), "attends": (False, True, True), "layers": 2, "depth": 3}),
    "refiner": ("sdxl_refiner", {"widths": (16, 64, 128), "attends": (False, True, True)}),
    "SDXL inpainting": ("sdxl", {"in_channels": 9}),
}


@pytest.mark.parametrize(("family", "sizes"), OTHERS.values(), ids=OTHERS)
def test_every_tensor_of_other_families_has_a_place(family, sizes):
    tensors = tensors_of(family, vocabulary=2, **sizes)
    parts = build(tensors)
    modules = [parts.diffusion.part, parts.vae, *(part for _, part in parts.texts)]
    placed = sum(weight.numel() for part in modules for weight in part.weights.values())
    assert placed == sum(tensor.numel() for name, tensor in tensors.items() if not name.endswith("logit_scale"))


def test_heads_beside_linear_projections_are_64_wide():
    unet = build(tensors_of("sdxl", vocabulary=2, widths=(32, 128), attends=(True, True))).diffusion.part.module
    assert [unet.shape.heads_of(width) for width in (32, 128, 640)] == [1, 2, 10]


def test_a_network_made_smaller_may_have_no_middle():
    tensors = tensors_of("sdxl", vocabulary=2, dtype=torch.float32)
    unet = build({name: tensor for name, tensor in tensors.items() if ".middle_block." not in name}).diffusion.part
    with torch.no_grad():
        output = unet.module(torch.randn(1, 4, 8, 8), torch.tensor([3.0]), torch.randn(1, 7, 80), torch.randn(1, 1584))
    assert output.shape == (1, 4, 8, 8)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_unet_denoises_latents_of_odd_sides(sizes):
    unet = build(tiny_tensors(sizes, dtype=torch.float32)).diffusion.part.module
    with torch.no_grad():
        output = unet(torch.randn(2, 4, 9, 12), torch.tensor([3.0, 700.5]), torch.randn(2, 77, 32))
    assert output.shape == (2, 4, 9, 12)


def test_weights_are_those_of_the_file_uncopied(tiny: Checkpoint):
    part = tiny.model.model.part
    name = f"{UNET}input_blocks.0.0.weight"
    assert part.module.input_blocks[0][0].weight.data_ptr() == part.weights[part.keys[name]].data_ptr()


def test_attention_of_the_vae_becomes_linear_without_a_copy(tiny: Checkpoint):
    part = tiny.vae.part
    key = part.keys[f"{VAE}decoder.mid.attn_1.q.weight"]
    assert (key, part.weights[key].ndim) == ("decoder.mid_block.attentions.0.to_q.weight", 2)


def test_norms_have_as_many_groups_as_divide_both_32_and_the_width():
    parts = build(tiny_tensors(TinySizes(vocabulary=100, widths=(24, 64), attends=(True, True))))
    groups = {
        m.num_channels: m.num_groups for m in parts.diffusion.part.module.modules() if isinstance(m, nn.GroupNorm)
    }
    assert (groups[24], groups[64], groups[88]) == (8, 32, 8)


def test_text_names_without_their_wrapper_are_read_too():
    tensors = {name.replace(".text_model.", "."): tensor for name, tensor in tiny_tensors(SIZES["two levels"]).items()}
    assert build(tensors).texts[0][1].module.shape.layers == 2


def test_names_a_tensor_that_is_missing():
    tensors = tiny_tensors(SIZES["two levels"])
    del tensors[f"{UNET}out.2.bias"]
    with pytest.raises(ModelFileError, match=r"its UNet lacks 1 tensors, such as out\.2\.bias"):
        build(tensors)


def test_names_a_tensor_of_a_shape_that_cannot_be():
    tensors = tiny_tensors(SIZES["two levels"])
    tensors[f"{VAE}quant_conv.weight"] = torch.zeros(8, 7, 1, 1)
    with pytest.raises(ModelFileError, match=r"its VAE has quant_conv\.weight of shape \(8, 7, 1, 1\) where \(8, 8"):
        build(tensors)
