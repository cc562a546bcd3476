"""The networks of latent videos against diffusers' own, all weights random; guidance by frame against recordings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from executor.inference.denoising import Guidance, sample_sigmas
from executor.inference.extras import Situation
from executor.inference.families.ldm_vae import vae_key
from executor.inference.families.svd import SVD
from executor.inference.guidance_rules import by_frame, rising, triangle
from executor.inference.noise import prepare_noise
from executor.inference.samplers import sampler
from executor.inference.vae_file import build_vae
from executor.inference.vae_model import VaeShape, fit_groups
from executor.inference.weights import WeightFile
from tests.maths.recordings import cases, error, tensors, toy_handle
from tests.tiny_checkpoint import TinySizes, random_tensors
from tests.tiny_video import video_unet_shapes, video_vae_shapes

BOUND = 1e-5  # one forward, relative (reference/model_layer.md)
SEED = 12345
FRAMES, CONTEXT = 3, 48
SIZES = TinySizes(
    widths=(64, 128),
    layers=2,
    attends=(True, False),
    linear=True,
    context=CONTEXT,
    vector=768,
    in_channels=8,
    vae_widths=(32, 64, 64),
)
RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
TOP = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def inside(kind: str, rest: str) -> str:
    """diffusers' name within a residual block or a transformer (reference/model_layer.md, "SVD UNet keys")."""
    if kind == "attentions":
        rest = re.sub(r"^time_pos_embed\.([02])", lambda m: f"time_pos_embed.linear_{int(m[1]) // 2 + 1}", rest)
        return rest.replace("time_stack.", "temporal_transformer_blocks.")
    if rest.startswith("time_mixer"):
        return rest
    stem, _, weight = rest.removeprefix("time_stack.").rpartition(".")
    part = "temporal_res_block" if rest.startswith("time_stack.") else "spatial_res_block"
    return f"{part}.{RESIDUAL[stem]}.{weight}"


def theirs(name: str, layers: int = SIZES.layers) -> str:
    """diffusers' name of a tensor of the UNet."""
    stem, _, weight = name.rpartition(".")
    if stem in TOP:
        return f"{TOP[stem]}.{weight}"
    side, number, rest = name.split(".", 2)
    if side == "middle_block":
        kind = "attentions" if number == "1" else "resnets"
        return f"mid_block.{kind}.{int(number) // 2}.{inside(kind, rest)}"
    child, rest = rest.split(".", 1)
    block, place = divmod(int(number) - 1, layers + 1) if side == "input_blocks" else divmod(int(number), layers + 1)
    way = "down" if side == "input_blocks" else "up"
    if rest.startswith(("op.", "conv.")):
        return f"{way}_blocks.{block}.{way}samplers.0.conv.{weight}"
    kind = "attentions" if child == "1" else "resnets"
    return f"{way}_blocks.{block}.{kind}.{place}.{inside(kind, rest)}"


def their_unet(weights: dict[str, Tensor]) -> nn.Module:
    """diffusers' network with these weights."""
    from diffusers import UNetSpatioTemporalConditionModel

    unet = UNetSpatioTemporalConditionModel(
        in_channels=8,
        out_channels=4,
        block_out_channels=SIZES.widths,
        layers_per_block=SIZES.layers,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        num_attention_heads=tuple(width // 64 for width in SIZES.widths),
        cross_attention_dim=CONTEXT,
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=768,
    )
    unet.load_state_dict({theirs(name): tensor for name, tensor in weights.items()})
    for name, part in unet.named_modules():
        # diffusers' attending levels have 1e-6 here; the published network has 1e-5 in every residual block
        if isinstance(part, nn.GroupNorm) and "res_block" in name:
            part.eps = 1e-5
    return unet.requires_grad_(False).eval()


def test_the_unet_answers_as_diffusers():
    weights = random_tensors({"": video_unet_shapes(SIZES)}, torch.float32)
    found = SVD.build_diffusion(WeightFile(path=Path("svd.safetensors"), tensors=weights), {k: k for k in weights})
    original = their_unet(weights)
    x, timestep, context = torch.randn(2, FRAMES, 8, 8, 6), torch.tensor([0.3, 0.3]), torch.randn(2, 1, CONTEXT)
    situation = Situation(shape=torch.Size((FRAMES, 4, 8, 6)))
    options = {"fps": 7, "motion_bucket_id": 90, "augmentation_level": 0.1}
    given: dict[str, object] = {}
    for extra in found.extras:
        given |= extra(options, situation)
    told = torch.tensor([[6.0, 90.0, 0.1]]).expand(2, -1)
    expected = original(x, timestep, context, added_time_ids=told).sample
    rows = {"context": context.repeat_interleave(FRAMES, 0), "y": given["y"].expand(2 * FRAMES, -1)}
    answer = found.part.module(
        x.flatten(0, 1), timestep.repeat_interleave(FRAMES), **rows, num_video_frames=given["num_video_frames"]
    )
    assert error(answer.reshape(expected.shape), expected) < BOUND


def their_vae(weights: dict[str, Tensor]) -> nn.Module:
    """diffusers' autoencoder with these weights."""
    from diffusers import AutoencoderKLTemporalDecoder

    vae = AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * len(SIZES.vae_widths),
        block_out_channels=SIZES.vae_widths,
        layers_per_block=2,
    )
    shape = VaeShape(encoder_widths=SIZES.vae_widths, decoder_widths=SIZES.vae_widths, video=True, quantized=False)
    renamed = {}
    for name, tensor in weights.items():
        key = vae_key(name, shape).replace("time_conv.", "decoder.time_conv_out.").replace(".spatial.", ".")
        if key.startswith("decoder.") and (found := re.fullmatch(r"(.+\.resnets\.\d+)\.(.+)", key)):
            rest = found[2]
            if rest == "mix_factor":
                key = f"{found[1]}.time_mixer.mix_factor"
            elif rest.startswith("time_stack."):
                key = f"{found[1]}.{inside('resnets', rest)}"
            else:
                key = f"{found[1]}.spatial_res_block.{rest}"
        renamed[key] = tensor[:, :, 0, 0] if ".attentions." in key and tensor.ndim == 4 else tensor
    renamed |= {"quant_conv.weight": torch.eye(8)[:, :, None, None], "quant_conv.bias": torch.zeros(8)}
    vae.load_state_dict(renamed)
    fit_groups(vae)
    return vae.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def autoencoders() -> tuple[nn.Module, nn.Module]:
    """Ours and diffusers', with the same random weights."""
    weights = random_tensors({"": video_vae_shapes(replace(SIZES, vae_layers=2))}, torch.float32)
    return build_vae(WeightFile(path=Path("vae.safetensors"), tensors=weights)).module, their_vae(weights)


def test_frames_are_decoded_as_by_diffusers(autoencoders):
    ours, original = autoencoders
    latents = torch.randn(FRAMES, 4, 5, 4)
    assert error(ours.decode(latents), original.decode(latents, num_frames=FRAMES).sample) < BOUND


def test_pictures_are_encoded_as_by_diffusers(autoencoders):
    ours, original = autoencoders
    pixels = torch.rand(2, 3, 16, 24) * 2 - 1
    assert error(ours.encode(pixels), original.encode(pixels).latent_dist.mean) < BOUND


@pytest.mark.parametrize(("name", "share"), [("video_linear", rising), ("video_triangle", triangle)])
def test_guidance_by_frame_is_the_recorded_one(name, share):
    case = cases("guiders")[name]
    rule = by_frame(share, case["inputs"]["min_cfg"])
    handle = replace(toy_handle("eps_sd15"), model_options={"sampler_cfg_function": rule})
    latent = {"samples": torch.zeros(3, 4, 8, 8)}
    sides = {side: [[tensors("guiders")[f"in/{side}"], {}]] for side in ("positive", "negative")}
    noise, sigmas = prepare_noise(latent["samples"], SEED), tensors("guiders")["in/sigmas"]
    guidance = Guidance(cfg=case["cfg"], **sides)
    out, _ = sample_sigmas(handle, latent, noise, sigmas, sampler("euler"), guidance, seed=SEED)
    assert error(out, tensors("guiders")[f"{name}/out"]) <= 1e-4
