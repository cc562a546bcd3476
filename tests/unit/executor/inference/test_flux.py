"""Files of Flux.1: recognised, built at their sizes, changed by LoRAs and packs, sampled as conditionings tell."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from executor import context
from executor.errors import Interrupted, ModelFileError, NodeInputError
from executor.inference.casting import cast_leaves
from executor.inference.checkpoint import load_checkpoint, load_diffusion_model
from executor.inference.extras import Situation
from executor.inference.flux_tokens import among_all
from executor.inference.handle import ModelHandle
from executor.inference.latent_formats import FLUX
from executor.inference.lora import apply_lora, read_layers
from executor.inference.memory import Memory
from executor.inference.network_config import ModelType
from executor.inference.recordable import runs_nothing_else
from executor.inference.recordings import Recordings
from executor.inference.sample import sample
from executor.inference.streaming import Stream
from executor.inference.weights import WeightFile
from tests.tiny_checkpoint import VAE, TinySizes, tiny_tensors
from tests.tiny_flux import TINY_FLUX, WRAPPED, flux_tensors, random_flux, write_flux
from tests.unit.executor.inference.test_recordings import Tape
from tests.unit.executor.inference.test_streaming import Porter

CPU = Memory(mode="cpu")
WIDTH, INNER = TINY_FLUX.width, TINY_FLUX.inner


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return write_flux(tmp_path_factory.mktemp("flux") / "flux.safetensors")


@pytest.fixture
def model(path) -> ModelHandle:
    return load_diffusion_model(path, CPU)


def conditioning(tokens: int = 5, **options: object) -> list[list[object]]:
    generator = torch.Generator().manual_seed(tokens)
    text = torch.randn(1, tokens, TINY_FLUX.context, generator=generator)
    return [[text, {"pooled_output": torch.randn(1, TINY_FLUX.vector, generator=generator), **options}]]


def sampled(
    model: ModelHandle, positive=None, negative=None, cfg: float = 1.0, samples=None, **latent: object
) -> Tensor:
    given = {"samples": torch.zeros(1, 16, 6, 4) if samples is None else samples, **latent}
    settings = {"seed": 1, "steps": 2, "cfg": cfg, "sampler_name": "euler", "scheduler": "simple"}
    sides = {"positive": positive or conditioning(), "negative": negative or conditioning()}
    return sample(model, given, **settings, **sides)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_a_network_is_known_under_any_prefix(tmp_path, prefix):
    tensors = flux_tensors(prefix)
    save_file(tensors, tmp_path / "flux.safetensors")
    model = load_diffusion_model(tmp_path / "flux.safetensors", CPU)
    assert (model.family, model.latent_format) == ("flux", FLUX)
    assert set(model.model.part.keys) == set(tensors)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 96, "heads": 3, "inner": 288, "double_blocks": 1, "single_blocks": 1},
        {"guidance": False, "context": 16, "vector": 8},
        {"in_features": 384},
        {"in_features": 128, "bias": False},
        {"width": 256, "heads": 2, "inner": 512, "double_blocks": 3, "single_blocks": 2},
    ],
)
def test_sizes_are_those_of_the_tensors(tmp_path, changes):
    model = load_diffusion_model(write_flux(tmp_path / "flux.safetensors", **changes), CPU)
    shape = model.model.part.module.shape
    assert {name: getattr(shape, name) for name in changes} == changes


def test_networks_that_were_taught_guidance_are_shifted_towards_noise(tmp_path, model):
    plain = load_diffusion_model(write_flux(tmp_path / "schnell.safetensors", guidance=False), CPU)
    assert (model.model.model_type, plain.model.model_type) == (ModelType.FLUX, ModelType.FLOW)
    half = torch.tensor([0.5])
    assert model.model_sampling.sigma(half).item() == pytest.approx(0.7595, abs=1e-4)
    assert plain.model_sampling.sigma(half).item() == 0.5
    assert model.model_sampling.timestep(half).item() == plain.model_sampling.timestep(half).item() == 0.5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"in_features": 80}, "80 input features and 64 output features; networks of 64, 128 and 384"),
        ({"out_features": 32}, "64 input features and 32 output features"),
    ],
)
def test_sizes_that_mean_nothing_known_are_refused(tmp_path, change, told):
    with pytest.raises(ModelFileError, match=told):
        load_diffusion_model(write_flux(tmp_path / "flux.safetensors", **change), CPU)


def test_a_missing_tensor_is_named(tmp_path):
    tensors = flux_tensors()
    del tensors["single_blocks.1.linear1.bias"]
    save_file(tensors, tmp_path / "flux.safetensors")
    with pytest.raises(ModelFileError, match=r"lacks 1 tensors, such as single_blocks\.1\.linear1\.bias"):
        load_diffusion_model(tmp_path / "flux.safetensors", CPU)


@pytest.mark.parametrize("lacking", ["vector_in.in_layer.weight", "double_blocks.0.img_mod.lin.weight"])
def test_networks_of_a_later_outline_are_not_taken_for_it(tmp_path, lacking):
    tensors = flux_tensors()
    del tensors[lacking]
    save_file({**tensors, "distilled_guidance_layer.x": torch.zeros(1)}, tmp_path / "chroma.safetensors")
    with pytest.raises(ModelFileError, match="looks like a Chroma model"):
        load_diffusion_model(tmp_path / "chroma.safetensors", CPU)


@pytest.mark.parametrize("prefix", ["vae.", "first_stage_model."])
def test_a_checkpoint_brings_its_vae(tmp_path, prefix):
    vae = {prefix + name[len(VAE) :]: each for name, each in tiny_tensors(TinySizes()).items() if name.startswith(VAE)}
    bare = {name: each.float() for name, each in vae.items() if "quant_conv" not in name}
    save_file(flux_tensors(WRAPPED) | bare, tmp_path / "flux.safetensors")
    found = load_checkpoint(tmp_path / "flux.safetensors", CPU)
    assert set(found.vae.part.keys) == set(bare)
    assert found.model.family == "flux"


@pytest.mark.parametrize("stored", ["file", "loader"])
def test_weights_of_8_bits_compute_what_rounded_ones_do(tmp_path, stored):
    eight = torch.float8_e4m3fn
    tensors = flux_tensors()
    rounded = {name: tensor.to(eight) for name, tensor in tensors.items()}
    save_file(rounded if stored == "file" else tensors, tmp_path / "eight.safetensors")
    save_file({name: tensor.float() for name, tensor in rounded.items()}, tmp_path / "plain.safetensors")
    kind = "default" if stored == "file" else "fp8_e4m3fn"
    model = load_diffusion_model(tmp_path / "eight.safetensors", CPU, weight_dtype=kind)
    assert model.model.part.file_dtype == eight
    plain = load_diffusion_model(tmp_path / "plain.safetensors", CPU)
    torch.testing.assert_close(sampled(model), sampled(plain), rtol=1e-4, atol=1e-5)


def test_weights_of_8_bits_are_multiplied_with_the_scales_beside_them(tmp_path):
    eight, tensors, meant = torch.float8_e4m3fn, flux_tensors(), flux_tensors()
    for name, tensor in flux_tensors().items():
        if name.endswith(".weight") and "blocks" in name:
            scale = tensor.abs().max() / 448
            tensors[name] = (tensor / scale).to(eight)
            tensors[f"{name.removesuffix('weight')}scale_weight"] = scale
            meant[name] = tensors[name].float() * scale
    save_file({**tensors, "scaled_fp8": torch.zeros(2).to(eight)}, tmp_path / "scaled.safetensors")
    save_file(meant, tmp_path / "meant.safetensors")
    scaled, plain = (load_diffusion_model(tmp_path / f"{name}.safetensors", CPU) for name in ("scaled", "meant"))
    assert scaled.model.part.stored["double_blocks.0.img_attn.qkv.weight"].dtype == eight
    torch.testing.assert_close(sampled(scaled), sampled(plain), rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------- conditioning


def given(model: ModelHandle, options: dict[str, object], **situation: object) -> dict[str, object]:
    here = Situation(shape=torch.Size((1, 16, 6, 4)), **situation)
    found: dict[str, object] = {}
    for extra in model.model.extras:
        found |= extra(options, here)
    return found


def test_guidance_is_the_conditionings_or_3_5(model):
    assert given(model, {"guidance": 2.0})["guidance"].tolist() == [2.0]
    assert given(model, {})["guidance"].tolist() == [3.5]
    assert "guidance" not in given(model, {"guidance": None})


def test_a_model_that_was_taught_none_is_told_none(tmp_path):
    model = load_diffusion_model(write_flux(tmp_path / "schnell.safetensors", guidance=False), CPU)
    assert "guidance" not in given(model, {"guidance": 2.0})


def test_a_vector_of_another_width_is_refused_and_a_missing_one_is_zeros(model):
    assert torch.equal(given(model, {})["y"], torch.zeros(1, TINY_FLUX.vector))
    with pytest.raises(NodeInputError, match="a pooled vector of width 12; this one has one of width 9"):
        given(model, {"pooled_output": torch.zeros(1, 9)})


def test_guidance_changes_the_picture(model):
    first, second = (sampled(model, conditioning(guidance=strength)) for strength in (1.0, 9.0))
    assert not torch.allclose(first, second, atol=1e-3)


def test_further_pictures_are_brought_to_the_networks_scale(model):
    pictures = [torch.ones(1, 16, 2, 2), torch.ones(1, 16, 5, 3)]
    found = given(model, {"reference_latents": pictures, "reference_latents_method": "index"})
    assert found["ref_latents_method"] == "index"
    assert [each.shape for each in found["ref_latents"]] == [each.shape for each in pictures]
    torch.testing.assert_close(found["ref_latents"][1], FLUX.process_in(pictures[1]))


@pytest.mark.parametrize("shape", [(1, 4, 3, 5), (1, 16, 1, 3, 5)], ids=["another VAE's", "a video's"])
@pytest.mark.parametrize("name", ["reference_latents", "concat_latent_image"])
def test_pictures_of_another_kind_of_model_are_refused(tmp_path, shape, name):
    model = load_diffusion_model(write_flux(tmp_path / "canny.safetensors", in_features=128), CPU)
    latents = torch.ones(shape)
    with pytest.raises(NodeInputError, match=r"latents of 16 channels \(Flux\): encode them with the model's VAE"):
        given(model, {name: [latents] if name == "reference_latents" else latents})


def test_further_pictures_change_what_is_drawn_and_where_they_stand_does_too(model):
    pictures = {"reference_latents": [torch.ones(1, 16, 3, 5), torch.ones(1, 16, 2, 2)]}
    plain = sampled(model)
    beside = sampled(model, conditioning(**pictures))
    apart = sampled(model, conditioning(**pictures, reference_latents_method="index"))
    assert plain.shape == beside.shape
    assert not torch.allclose(plain, beside, atol=1e-3)
    assert not torch.allclose(apart, beside, atol=1e-4)


def test_a_model_that_fills_sees_the_picture_and_the_masks_pixels(tmp_path):
    model = load_diffusion_model(write_flux(tmp_path / "fill.safetensors", in_features=384), CPU)
    mask = torch.zeros(1, 1, 48, 32)
    mask[..., 3, 17] = 1.0  # row 3 of cell 0, column 1 of cell 2
    picture = torch.randn(1, 16, 6, 4)
    beside = given(model, {"concat_latent_image": picture, "concat_mask": mask})["c_concat"]
    assert beside.shape == (1, 80, 6, 4)
    torch.testing.assert_close(beside[:, :16], FLUX.process_in(picture))
    assert beside[0, 16 + 3 * 8 + 1, 0, 2] == 1.0
    assert beside[:, 16:].sum() == 1.0
    assert sampled(model, conditioning(concat_latent_image=picture, concat_mask=mask)).shape == (1, 16, 6, 4)


def test_without_a_picture_a_model_that_fills_sees_what_the_sampling_keeps(tmp_path):
    model = load_diffusion_model(write_flux(tmp_path / "fill.safetensors", in_features=384), CPU)
    kept, mask = torch.randn(1, 16, 6, 4), torch.zeros(1, 6, 4)
    mask[:, :3] = 1.0
    beside = given(model, {}, latent=kept, mask=mask)["c_concat"]
    torch.testing.assert_close(beside[:, :16, 3:], kept[:, :, 3:])
    assert torch.equal(beside[:, :16, :3], FLUX.grey().expand(1, 16, 3, 4))
    assert beside[:, 16:, 0].min() == 1.0
    assert given(model, {})["c_concat"][:, 16:].min() == 1.0


def test_a_model_led_by_edges_sees_the_picture_beside(tmp_path):
    model = load_diffusion_model(write_flux(tmp_path / "canny.safetensors", in_features=128), CPU)
    picture = torch.randn(1, 16, 6, 4)
    torch.testing.assert_close(given(model, {"concat_latent_image": picture})["c_concat"], FLUX.process_in(picture))
    assert not torch.allclose(sampled(model, conditioning(concat_latent_image=picture)), sampled(model), atol=1e-3)


def test_texts_of_two_lengths_are_not_repeated_to_one(model):
    guided = sampled(model, conditioning(6), conditioning(3), cfg=4.0)
    first, second = sampled(model, conditioning(6)), sampled(model, conditioning(3))
    assert not torch.allclose(first, second, atol=1e-3)
    lengths: list[int] = []

    def told(network, arguments):
        lengths.append(arguments["c"]["c_crossattn"].shape[1])
        return network(arguments["input"], arguments["timestep"], **arguments["c"])

    wrapped = model.clone()
    wrapped.set_model_unet_function_wrapper(told)
    assert torch.equal(sampled(wrapped, conditioning(6), conditioning(3), cfg=4.0), guided)
    assert sorted(set(lengths)) == [3, 6]


@pytest.mark.parametrize("size", [(7, 5), (6, 5), (1, 1)])
def test_latents_of_odd_sizes_and_batches_are_sampled(model, size):
    assert sampled(model, samples=torch.zeros(3, 16, *size)).shape == (3, 16, *size)


def test_what_a_mask_keeps_stays(model):
    samples, mask = torch.randn(1, 16, 6, 4), torch.zeros(1, 6, 4)
    mask[:, :2] = 1.0
    found = sampled(model, samples=samples, noise_mask=mask)
    torch.testing.assert_close(found[:, :, 2:], samples[:, :, 2:], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[:, :, :2], samples[:, :, :2], atol=1e-2)


def test_text_of_another_width_is_refused(model):
    with pytest.raises(NodeInputError, match="takes text of width 24, and this conditioning has 9"):
        sampled(model, [[torch.zeros(1, 5, 9), {}]])


def test_what_attention_minds_is_told_from_the_first_token_on(model):
    told, text = torch.tensor([[-1.0, 0.5]]), torch.zeros(1, 4, TINY_FLUX.context)
    assert given(model, {"attention_bias": told}, context=text)["attention_mask"].tolist() == [[-1.0, 0.5, 0.0, 0.0]]


def test_packs_are_told_how_many_blocks_of_a_kind_there_are():
    module, told = random_flux(), []
    for block in (module.double_blocks[0], module.single_blocks[0]):
        block.register_forward_pre_hook(
            lambda _, given, named: told.append(named["transformer_options"]["total_blocks"]), with_kwargs=True
        )
    module(torch.randn(1, 16, 4, 4), torch.tensor([0.5]), torch.randn(1, 5, TINY_FLUX.context))
    assert told == [TINY_FLUX.double_blocks, TINY_FLUX.single_blocks]


def test_a_style_that_attention_does_not_mind_is_not_there(model):
    [[text, options]] = conditioning(5)
    styled = torch.cat([text, torch.ones(1, 3, TINY_FLUX.context)], dim=1)
    told = {strength: torch.tensor([[0.0] * 5 + [strength] * 3]) for strength in (-23.0, -0.5)}
    plain = sampled(model, [[text, options]])
    unminded = sampled(model, [[styled, {**options, "attention_bias": told[-23.0]}]])
    torch.testing.assert_close(unminded, plain, rtol=1e-4, atol=1e-4)
    weak = sampled(model, [[styled, {**options, "attention_bias": told[-0.5]}]])
    full = sampled(model, [[styled, options]])
    assert not torch.allclose(weak, plain, atol=1e-3)
    assert not torch.allclose(weak, full, atol=1e-3)


def test_styled_tokens_mind_each_other_as_they_are():
    mask = among_all(torch.tensor([[0.0, -2.0, -2.0]]), torch.zeros(1, 1, 4))
    unminded, minded = [0.0, -2.0, -2.0, 0.0], [0.0] * 4
    assert mask[0, 0].tolist() == [unminded, minded, minded, unminded]


def test_room_is_made_for_further_pictures(model, monkeypatch):
    shapes: list[tuple[int, ...]] = []
    monkeypatch.setattr(type(model.model), "working_bytes", lambda _, shape: shapes.append(tuple(shape)) or 0)
    sampled(model, conditioning(reference_latents=[torch.ones(1, 16, 3, 5), torch.ones(1, 16, 1, 2)]))
    sampled(model)
    assert shapes == [(2, 16, 6 + 5, 4), (2, 16, 6, 4)]  # 17 cells in rows of 4


# ---------------------------------------------------------------- LoRAs

KOHYA, PEFT = (".lora_up.weight", ".lora_down.weight"), (".lora_B.weight", ".lora_A.weight")
XLABS = (".up.weight", ".down.weight")
QKV = "double_blocks.1.img_attn.qkv.weight"
LORAS = {
    "kohya": ("lora_unet_double_blocks_1_img_attn_qkv", KOHYA, QKV, slice(0, 3 * WIDTH)),
    "original": ("diffusion_model.double_blocks.1.img_attn.qkv", PEFT, QKV, slice(0, 3 * WIDTH)),
    "diffusers": ("transformer.transformer_blocks.1.attn.to_k", PEFT, QKV, slice(WIDTH, 2 * WIDTH)),
    "OneTrainer": ("lora_transformer_transformer_blocks_1_attn_to_k", KOHYA, QKV, slice(WIDTH, 2 * WIDTH)),
    "text's part": (
        "transformer.transformer_blocks.0.attn.add_v_proj",
        PEFT,
        "double_blocks.0.txt_attn.qkv.weight",
        slice(2 * WIDTH, 3 * WIDTH),
    ),
    "single's part": (
        "transformer.single_transformer_blocks.2.attn.to_q",
        PEFT,
        "single_blocks.2.linear1.weight",
        slice(0, WIDTH),
    ),
    "single's layer": (
        "transformer.single_transformer_blocks.2.proj_mlp",
        PEFT,
        "single_blocks.2.linear1.weight",
        slice(3 * WIDTH, 3 * WIDTH + INNER),
    ),
    "output": (
        "transformer.transformer_blocks.0.attn.to_out.0",
        PEFT,
        "double_blocks.0.img_attn.proj.weight",
        slice(WIDTH),
    ),
    "top": ("transformer.x_embedder", PEFT, "img_in.weight", slice(WIDTH)),
    "bare": ("transformer_blocks.1.attn.to_k", PEFT, QKV, slice(WIDTH, 2 * WIDTH)),
    "fal": ("base_model.model.double_blocks.1.img_attn.qkv", PEFT, QKV, slice(0, 3 * WIDTH)),
    "LyCORIS": ("lycoris_transformer_blocks_1_attn_to_k", KOHYA, QKV, slice(WIDTH, 2 * WIDTH)),
    "XLabs": ("double_blocks.1.processor.qkv_lora1", XLABS, QKV, slice(0, 3 * WIDTH)),
    "XLabs' text": (
        "diffusion_model.double_blocks.0.processor.proj_lora2",
        XLABS,
        "double_blocks.0.txt_attn.proj.weight",
        slice(WIDTH),
    ),
    "XLabs' single": (
        "single_blocks.2.processor.qkv_lora",
        XLABS,
        "single_blocks.2.linear1.weight",
        slice(0, 3 * WIDTH),
    ),
    "XLabs' single's output": (
        "single_blocks.2.processor.proj_lora",
        XLABS,
        "single_blocks.2.linear2.weight",
        slice(WIDTH),
    ),
}


@pytest.mark.parametrize(("name", "ends", "key", "rows"), LORAS.values(), ids=LORAS)
def test_a_lora_changes_the_rows_that_its_layer_means(model, name, ends, key, rows):
    pristine = model.model.part.weights[key]
    up, down = torch.randn(rows.stop - (rows.start or 0), 2), torch.randn(2, pristine.shape[1])
    file = WeightFile(path=Path("style.safetensors"), tensors={name + ends[0]: up, name + ends[1]: down})
    changed, _ = apply_lora(file, model, None, 0.5, 1.0)
    wanted = pristine.clone()
    wanted[rows] += 0.5 * up @ down
    torch.testing.assert_close(changed.patched_weights()[key], wanted)
    assert list(changed.patches) == [f"diffusion_model.{key}"]


def test_diffusers_last_modulation_has_its_halves_the_other_way_round(model):
    key, up, down = "final_layer.adaLN_modulation.1.weight", torch.randn(2 * WIDTH, 2), torch.randn(2, WIDTH)
    name = "transformer.norm_out.linear"
    tensors = {f"{name}.lora_B.weight": up, f"{name}.lora_A.weight": down}
    changed, _ = apply_lora(WeightFile(path=Path("x.safetensors"), tensors=tensors), model, None, 1.0, 1.0)
    scale, shift = (up @ down).chunk(2)
    wanted = model.model.part.weights[key] + torch.cat([shift, scale])
    torch.testing.assert_close(changed.patched_weights()[key], wanted)


def test_every_layer_of_diffusers_has_a_place(model):
    from diffusers import FluxTransformer2DModel

    sizes = {"num_layers": 2, "num_single_layers": 3, "attention_head_dim": 32, "num_attention_heads": 2}
    module = FluxTransformer2DModel(joint_attention_dim=24, pooled_projection_dim=12, guidance_embeds=True, **sizes)
    layers = {name for name, each in module.named_modules() if isinstance(each, torch.nn.Linear)}
    assert layers <= set(model.model.part.module.other_names())


def test_a_lora_of_control_adds_a_picture_beside_the_latents(model):
    generator = torch.Generator().manual_seed(3)
    down, up = torch.randn(4, 128, generator=generator) * 0.1, torch.randn(WIDTH, 4, generator=generator) * 0.1
    norm, bias = torch.rand(32, generator=generator) + 0.5, torch.randn(3 * WIDTH, generator=generator)
    qkv = "double_blocks.0.img_attn"
    tensors = {
        "img_in.lora_A.weight": down,
        "img_in.lora_B.weight": up,
        f"{qkv}.qkv.lora_A.weight": torch.zeros(4, WIDTH),
        f"{qkv}.qkv.lora_B.weight": torch.zeros(3 * WIDTH, 4),
        f"{qkv}.qkv.lora_B.bias": bias,
        f"{qkv}.norm.query_norm.scale": norm,
    }
    changed, _ = apply_lora(WeightFile(path=Path("canny.safetensors"), tensors=tensors), model, None, 1.0, 1.0)
    weights, pristine = changed.patched_weights(), model.model.part.weights
    wide = torch.nn.functional.pad(pristine["img_in.weight"], (0, 64)) + up @ down
    torch.testing.assert_close(weights["img_in.weight"], wide)
    torch.testing.assert_close(weights[f"{qkv}.qkv.bias"], pristine[f"{qkv}.qkv.bias"] + bias)
    assert torch.equal(weights[f"{qkv}.norm.query_norm.scale"], norm)
    plain = sampled(model)
    first, second = (
        sampled(changed, conditioning(concat_latent_image=torch.full((1, 16, 6, 4), v))) for v in (0.0, 1.0)
    )
    assert not torch.allclose(first, second, atol=1e-3)
    assert torch.equal(sampled(model), plain)  # and the next sampling without it takes no picture


def test_a_whole_network_is_no_lora():
    file = WeightFile(path=Path("flux.safetensors"), tensors=flux_tensors())
    with pytest.raises(ModelFileError, match="looks like a Flux model"):
        read_layers(file)


# ---------------------------------------------------------------- packs


def test_a_pack_may_stand_in_for_blocks(model):
    seen: list[tuple[str, int]] = []

    def block(kind: str, number: int):
        def run(arguments, extra):
            seen.append((kind, number))
            assert arguments["transformer_options"]["block"] == (kind, number)
            found = extra["original_block"](arguments)
            assert set(found) == ({"img", "txt"} if kind == "double_block" else {"img"})
            return found

        return run

    changed = model.clone()
    for kind, count in (("double_block", 2), ("single_block", 3)):
        for number in range(count):
            changed.set_model_patch_replace(block(kind, number), "dit", kind, number)
    torch.testing.assert_close(sampled(changed), sampled(model), rtol=0, atol=0)
    assert seen == [("double_block", 0), ("double_block", 1), *(("single_block", n) for n in range(3))] * 2


def test_a_block_left_out_changes_the_picture(model):
    changed = model.clone()
    changed.set_model_patch_replace(lambda given, extra: {"img": given["img"]}, "dit", "single_block", 1)
    assert not torch.allclose(sampled(changed), sampled(model), atol=1e-3)


def test_a_pack_may_compute_the_attention(model):
    heads: set[tuple[int, ...]] = set()

    def own(attend, q, k, v, count, **options):
        heads.add(tuple(q.shape[1:3]))
        return attend(q, k, v, count, **options)

    changed = model.clone()
    changed.model_options["transformer_options"]["optimized_attention_override"] = own
    torch.testing.assert_close(sampled(changed), sampled(model), rtol=0, atol=0)
    assert heads == {(2, 5 + 6)}


def test_values_that_a_pack_keeps_stay_what_they_were(model):
    kept: list[tuple[Tensor, Tensor]] = []

    def own(attend, q, k, v, count, **options):
        kept.append((v, v.clone()))
        return attend(q, k, v, count, **options)

    changed = model.clone()
    changed.model_options["transformer_options"]["optimized_attention_override"] = own
    sampled(changed)
    assert all(torch.equal(values, before) for values, before in kept)


@pytest.mark.parametrize("side", ["input", "output"])
def test_features_of_a_control_are_added_behind_their_block(side):
    module, features = random_flux(), torch.randn(1, 6, WIDTH)
    x, text = torch.randn(1, 16, 6, 4), torch.randn(1, 5, TINY_FLUX.context)
    plain = module(x, torch.tensor([0.5]), text)
    controlled = module(x, torch.tensor([0.5]), text, control={side: [None, features]})
    assert not torch.allclose(plain, controlled, atol=1e-3)
    nothing = module(x, torch.tensor([0.5]), text, control={side: [None, features * 0]})
    torch.testing.assert_close(nothing, plain)


def test_a_network_that_a_pack_changed_runs_more_than_itself(model):
    model.load()
    assert runs_nothing_else(model)
    module = model.model.part.module
    module.forward_orig = module.forward_orig
    assert not runs_nothing_else(model)


# ---------------------------------------------------------------- running


def test_half_precision_stays_finite_where_layers_answer_more_than_it_holds():
    module = random_flux().half()
    module.double_blocks[1].txt_mlp[2].weight.fill_(2000.0)
    module.single_blocks[1].linear2.weight.fill_(2000.0)
    x, text = torch.randn(1, 16, 4, 4).half(), torch.randn(1, 5, TINY_FLUX.context).half()
    assert module(x, torch.tensor([0.5]), text).isfinite().all()


def test_its_calls_are_recorded_and_played_back():
    module, tape = random_flux(), Tape()
    recordings, alone = Recordings(tape), partial(module, transformer_options={})
    text, pictures = torch.randn(1, 5, TINY_FLUX.context), [torch.randn(1, 16, 4, 2), torch.randn(1, 16, 2, 2)]
    for number in range(4):
        given = {"x": torch.randn(1, 16, 4, 4), "timesteps": torch.tensor([0.9 - 0.2 * number]), "context": text}
        given |= {"guidance": torch.tensor([1.0 + number]), "ref_latents": pictures, "ref_latents_method": "index"}
        torch.testing.assert_close(recordings.call(alone, given), alone(**given))
    assert (tape.recorded, tape.played) == (1, 2)


@pytest.mark.parametrize("kind", ["double_blocks", "single_blocks"])
def test_the_user_may_stop_it_between_blocks(kind):
    flag = context.InterruptFlag()
    module, ran = random_flux(), []
    first, second, *_ = getattr(module, kind)
    first.register_forward_hook(lambda *_: ran.append(0) or flag.set())  # what it tells would be the output
    second.register_forward_hook(lambda *_: ran.append(1))
    with context.entered(context.RunContext(interrupt=flag)), pytest.raises(Interrupted):
        module(torch.randn(1, 16, 4, 4), torch.tensor([0.5]), torch.randn(1, 5, TINY_FLUX.context))
    assert ran == [0]


def test_weights_that_travel_layer_by_layer_compute_the_same():
    module, x, text = random_flux(), torch.randn(1, 16, 4, 4), torch.randn(1, 5, TINY_FLUX.context)
    told = {"context": text, "guidance": torch.tensor([2.0])}
    plain = module(x, torch.tensor([0.5]), **told)
    cast_leaves(module)
    Stream(module, porter := Porter())
    with torch.inference_mode():
        torch.testing.assert_close(module(x, torch.tensor([0.5]), **told), plain)
    layers = sum(isinstance(each, nn.Linear) for each in module.modules())
    assert sum(what == "wait" for what, _ in porter.book) == layers
