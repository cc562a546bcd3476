"""Loader nodes find the chosen file among its kind, and what they load computes what the file holds."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from executor.errors import ModelFileError, NodeInputError
from executor.inference.checkpoint import load_checkpoint
from executor.inference.denoiser import Eps, VPrediction
from executor.inference.memory import Memory
from nodes.builtin.conditioning import CLIPTextEncode
from nodes.builtin.controlnet import ControlNetLoader, DiffControlNetLoader
from nodes.builtin.loaders import (
    CheckpointLoader,
    CheckpointLoaderSimple,
    CLIPLoader,
    DiffusersLoader,
    DualCLIPLoader,
)
from nodes.builtin.lora import LoraLoader, LoraLoaderModelOnly
from nodes.builtin.photomaker import PhotoMakerEncode, PhotoMakerLoader
from nodes.builtin.upscale_model import ImageUpscaleWithModel, UpscaleModelLoader
from nodes.builtin.vae import VAEDecode
from nodes.builtin.vision import CLIPVisionEncode, CLIPVisionLoader
from tests.maths.test_controlnet import Model, lora_and_whole
from tests.tiny_checkpoint import TEXT, UNET, TinySizes, random_tensors, tiny_tensors
from tests.tiny_families import CLIP_G, CLIP_L, tensors_of
from tests.tiny_video import open_vision_shapes
from tests.unit.executor.inference.test_part_files import theirs, vae_theirs
from tests.unit.executor.inference.test_photomaker import tensors as photomaker_tensors

SIZES = TinySizes(text_layers=3)


@pytest.fixture
def keep(place):
    """Writes tensors as a model file of a kind."""
    place.memory = Memory(torch.device("cpu"))

    def write(kind, name, tensors):
        folder = place.folders.paths(kind)[0]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".safetensors"):
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)
        else:
            torch.save(tensors, folder / name)
        return folder / name

    return write


def below(tensors, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def embedded(clip, text="a red circle"):
    [[embedding, options]] = clip.encode(text)
    return embedding, options["pooled_output"]


# ---------------------------------------------------------------- folders


def test_a_folder_of_diffusers_gives_the_parts_of_its_checkpoint(keep):
    tensors = tiny_tensors()
    keep("checkpoints", "whole.safetensors", tensors)
    keep("diffusers", "small/unet/diffusion_pytorch_model.safetensors", theirs(tensors))
    keep("diffusers", "small/vae/diffusion_pytorch_model.safetensors", vae_theirs(tensors))
    text = {f"text_model.{key}": tensor for key, tensor in below(tensors, TEXT).items()}
    last = keep("diffusers", "small/text_encoder/model.safetensors", text)
    (last.parents[1] / "model_index.json").write_text("{}")
    model, clip, vae = DiffusersLoader().load_checkpoint("small")
    whole_model, whole_clip, whole_vae = CheckpointLoaderSimple().load_checkpoint("whole.safetensors")
    found, wanted = model.patched_weights(), whole_model.patched_weights()
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    torch.testing.assert_close(embedded(clip), embedded(whole_clip), rtol=1e-5, atol=1e-5)
    latent = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(vae.decode(latent), whole_vae.decode(latent), rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- LoRAs


def test_a_lora_for_the_model_only_changes_it_as_one_for_both_does(keep):
    keep("checkpoints", "whole.safetensors", tiny_tensors())
    key = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
    name = f"lora_unet_{key.replace('.', '_')}"
    keep("loras", "style.safetensors", {f"{name}.diff": torch.randn(16, 16)})
    model, clip, _ = CheckpointLoaderSimple().load_checkpoint("whole.safetensors")
    [alone] = LoraLoaderModelOnly().load_lora_model_only(model, "style.safetensors", 0.5)
    both, _ = LoraLoader().load_lora(model, clip, "style.safetensors", 0.5, 1.0)
    found, wanted, plain = (each.patched_weights()[f"{key}.weight"] for each in (alone, both, model))
    assert torch.equal(found, wanted)
    assert not torch.equal(found, plain)


# ---------------------------------------------------------------- text encoders


@pytest.mark.parametrize("device", ["default", "cpu"])
def test_a_text_encoder_alone_reads_as_in_its_checkpoint(keep, place, device):
    tensors = tiny_tensors(SIZES)
    keep("checkpoints", "whole.safetensors", tensors)
    keep("text_encoders", "alone.safetensors", {f"text_model.{k}": t for k, t in below(tensors, TEXT).items()})
    [clip] = CLIPLoader().load_clip("alone.safetensors", "stable_diffusion", device)
    _, whole, _ = CheckpointLoaderSimple().load_checkpoint("whole.safetensors")
    for found, wanted in zip(embedded(clip), embedded(whole), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_an_encoder_of_another_kind_is_refused_with_the_file_and_what_fits(keep):
    keep("text_encoders", "t5.safetensors", {"encoder.block.0.layer.0.SelfAttention.q.weight": torch.zeros(1)})
    with pytest.raises(ModelFileError, match=r"t5\.safetensors: .*looks like a T5 text encoder"):
        CLIPLoader().load_clip("t5.safetensors", "stable_diffusion")


@pytest.mark.parametrize("turned", [False, True])
def test_two_encoders_are_those_of_sdxl_in_either_order(keep, turned):
    tensors = tensors_of("sdxl")
    keep("checkpoints", "whole.safetensors", tensors)
    keep("text_encoders", "l.safetensors", {f"text_model.{k}": t for k, t in below(tensors, CLIP_L).items()})
    keep("text_encoders", "g.safetensors", below(tensors, CLIP_G))
    names = ["l.safetensors", "g.safetensors"][:: -1 if turned else 1]
    [clip] = DualCLIPLoader().load_clip(*names, "sdxl")
    _, whole, _ = CheckpointLoaderSimple().load_checkpoint("whole.safetensors")
    found, wanted = embedded(clip), embedded(whole)
    assert found[0].shape == (1, 77, 32 + 48)
    for each, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(each, expected, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- checkpoints


def test_a_configuration_beside_a_checkpoint_sets_its_prediction_and_text_layer(keep, place):
    keep("checkpoints", "whole.safetensors", tiny_tensors(SIZES))
    folder = place.folders.paths("configs")[0]
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {"parameterization": "v", "cond_stage_config": {"params": {"layer": "penultimate"}}}
    (folder / "v.yaml").write_text(json.dumps({"model": {"params": parameters}}))
    model, clip, vae = CheckpointLoader().load_checkpoint("v.yaml", "whole.safetensors")
    plain, usual, same = CheckpointLoaderSimple().load_checkpoint("whole.safetensors")
    assert isinstance(model.model_sampling.prediction, VPrediction)
    assert isinstance(plain.model_sampling.prediction, Eps)
    usual.clip_layer(-2)
    torch.testing.assert_close(embedded(clip)[0], embedded(usual)[0])
    latent = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(vae.decode(latent), same.decode(latent))


def test_a_checkpoint_without_text_model_and_vae_gives_none_and_using_them_says_so(keep, caplog):
    tensors = {name: tensor for name, tensor in tiny_tensors(SIZES).items() if name.startswith(UNET)}
    keep("checkpoints", "net.safetensors", tensors)
    model, clip, vae = CheckpointLoaderSimple().load_checkpoint("net.safetensors")
    assert (model.family, clip, vae) == ("sd15", None, None)
    assert "net.safetensors holds no text encoder and no VAE" in caplog.text
    with pytest.raises(NodeInputError, match="input 'clip': the checkpoint it comes from holds no CLIP; load one with"):
        CLIPTextEncode().encode(clip, "a circle")
    with pytest.raises(NodeInputError, match="input 'vae': the checkpoint it comes from holds no VAE; load one with V"):
        VAEDecode().decode(vae, {"samples": torch.zeros(1, 4, 2, 2)})


# ---------------------------------------------------------------- ControlNets


def test_differences_are_added_to_the_model_that_the_node_is_given(keep, place):
    sizes = TinySizes(vocabulary=9, widths=(16, 24), attends=(True, False), text_layers=1, vae_widths=(4, 4))
    path = keep("checkpoints", "base.safetensors", tiny_tensors(sizes))
    model = load_checkpoint(path, place.memory).model
    weights = model.model.part.weights
    _, whole = lora_and_whole(weights)
    stored = {name: (t.float() - weights[name].float() if name in weights else t) for name, t in whole.items()}
    keep("controlnet", "whole.safetensors", whole)
    keep("controlnet", "difference.safetensors", {**stored, "difference": torch.tensor([])})
    [plain] = ControlNetLoader().load_controlnet("whole.safetensors")
    [added] = DiffControlNetLoader().load_controlnet(model, "difference.safetensors")
    found = []
    for control in (plain, added):
        control.set_cond_hint(torch.full((1, 3, 64, 64), 0.5))
        control.pre_run(Model(), Model.model_sampling.percent_to_sigma)
        x, text = torch.full((1, 4, 8, 8), 0.3), {"c_crossattn": torch.ones(1, 5, 32)}
        with torch.no_grad():
            found.append(control.get_control(x, torch.tensor([3.0]), text, 1, {})["output"])
    for mine, wanted in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(mine, wanted, rtol=2e-3, atol=2e-3)


# ---------------------------------------------------------------- pictures that lead, and larger pictures


def test_a_vision_model_of_its_own_sees_pictures(keep):
    tensors = random_tensors({"": open_vision_shapes()}, torch.float32)
    keep("clip_vision", "h.safetensors", tensors)
    [vision] = CLIPVisionLoader().load_clip("h.safetensors")
    grey = torch.full((2, 28, 28, 3), 0.5)
    [seen] = CLIPVisionEncode().encode(vision, grey, "center")
    [last] = {tuple(row) for row in seen.image_embeds.tolist()}  # equal pictures, equal vectors
    token = seen["last_hidden_state"][:1, 0]
    normed = torch.nn.functional.layer_norm(
        token, (64,), tensors["visual.ln_post.weight"], tensors["visual.ln_post.bias"]
    )
    torch.testing.assert_close(torch.tensor([last]), normed @ tensors["visual.proj"], rtol=1e-4, atol=1e-4)


def enlarging(bias: float):
    """A compact network (SRVGGNet) of factor two that adds one number to the enlarged picture."""
    tensors = {"body.0.weight": torch.zeros(6, 3, 3, 3), "body.0.bias": torch.zeros(6), "body.1.weight": torch.ones(6)}
    return tensors | {"body.2.weight": torch.zeros(12, 6, 3, 3), "body.2.bias": torch.full((12,), bias)}


def test_an_upscale_model_enlarges_every_picture_of_a_batch(keep):
    keep("upscale_models", "x2.pth", {"params": enlarging(0.1)})
    [model] = UpscaleModelLoader().load_model("x2.pth")
    pictures = torch.rand(2, 5, 7, 3)
    [larger] = ImageUpscaleWithModel().upscale(model, pictures)
    wanted = pictures.repeat_interleave(2, 1).repeat_interleave(2, 2) + 0.1
    torch.testing.assert_close(larger, wanted.clamp(max=1.0), rtol=1e-5, atol=1e-5)


def test_a_photomaker_puts_pictures_in_the_place_of_the_word_before_its_trigger(keep):
    keep("checkpoints", "xl.safetensors", tensors_of("sdxl"))
    keep("photomaker", "v1.bin", {"id_encoder": photomaker_tensors(), "lora_weights": {}})
    _, clip, _ = CheckpointLoaderSimple().load_checkpoint("xl.safetensors")
    [maker] = PhotoMakerLoader().load_photomaker_model("v1.bin")
    people = torch.rand(1, 16, 16, 3)
    [[[found, _]]] = PhotoMakerEncode().apply_photomaker(maker, people, clip, "a man photomaker on a hill")
    [[[other, _]]] = PhotoMakerEncode().apply_photomaker(maker, 1 - people, clip, "a man photomaker on a hill")
    plain = embedded(clip, "a man on a hill")[0]
    assert (found != plain).any(dim=-1)[0].nonzero().flatten().tolist() == [2]
    assert (found != other).any(dim=-1)[0].nonzero().flatten().tolist() == [2]
    [[[without, _]]] = PhotoMakerEncode().apply_photomaker(maker, people, clip, "a man on a hill")
    assert torch.equal(without, plain)
