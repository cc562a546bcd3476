"""Files of Stable Diffusion 3: recognised, built, sampled, changed and stored as every other model's."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from executor.errors import ModelFileError, NodeInputError
from executor.inference.casting import cast_leaves
from executor.inference.checkpoint import diffusion_model_of
from executor.inference.detect import detect
from executor.inference.families import FAMILIES
from executor.inference.handle import ModelHandle
from executor.inference.lora import apply_lora
from executor.inference.memory import Memory
from executor.inference.network_config import ModelType
from executor.inference.sample import sample
from executor.inference.streaming import Stream
from executor.inference.weights import WeightFile
from nodes.builtin import merging_by_layer as merging
from nodes.builtin.model_patches import SkipLayerGuidanceDiTSimple
from nodes.builtin.sd3 import SkipLayerGuidanceSD3
from tests.tiny_checkpoint import UNET
from tests.tiny_sd3 import TinyMMDiT, checkpoint_tensors, network_tensors

DUAL = TinyMMDiT(depth=3, normed=True, dual=(0, 1))
WIDTH = 128


def file_of(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> WeightFile:
    return WeightFile(path=Path("sd3.safetensors"), tensors=tensors, metadata=metadata or {})


def model(sizes: TinyMMDiT = DUAL, dtype: torch.dtype = torch.float32, weight_dtype: str = "default") -> ModelHandle:
    """The MODEL of a small bare file."""
    return diffusion_model_of(file_of(network_tensors(sizes, dtype)), Memory(mode="cpu"), weight_dtype=weight_dtype)


def text(seed: int, length: int = 9) -> list[list[object]]:
    """Random conditioning."""
    generator = torch.Generator().manual_seed(seed)
    pooled = torch.randn(1, 80, generator=generator)
    return [[torch.randn(1, length, 96, generator=generator), {"pooled_output": pooled}]]


def drawn(handle: ModelHandle, shape: tuple[int, ...] = (1, 16, 8, 8), negative: int = 9, **changes: object) -> Tensor:
    """Latents after two steps."""
    settings = {"seed": 1, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"} | changes
    latent = {"samples": torch.zeros(shape)}
    return sample(handle, latent, positive=text(1), negative=text(2, negative), **settings)


# ---------------------------------------------------------------- what a file is


@pytest.mark.parametrize(
    "sizes",
    [
        TinyMMDiT(),
        DUAL,
        TinyMMDiT(width=192, depth=1, context=160, vector=60, places=9, inner=256, head_width=32, normed=True),
    ],
    ids=["3 medium", "3.5 medium", "other sizes"],
)
def test_reads_the_sizes_from_shapes(sizes):
    family, detection = detect(file_of(checkpoint_tensors(sizes)), FAMILIES)
    shape = detection.config.mmdit
    assert family.name == "sd3"
    assert (shape.width, shape.depth, shape.context, shape.vector, shape.places, shape.inner) == (
        sizes.width,
        sizes.depth,
        sizes.context,
        sizes.vector,
        sizes.places,
        sizes.inner,
    )
    assert (shape.heads, shape.normed, shape.dual) == (
        sizes.width // sizes.head_width,
        sizes.normed,
        frozenset(sizes.dual),
    )


def test_heads_that_no_tensor_tells_may_be_told_by_the_file():
    tensors = checkpoint_tensors(TinyMMDiT(head_width=32))
    told = file_of(tensors, {"weft.config": '{"unet": {"heads": 4}}'})
    assert detect(told, FAMILIES)[1].config.mmdit.heads == 4


def test_every_tensor_of_a_bare_file_has_a_place():
    tensors = network_tensors(DUAL)
    assert set(model(DUAL).model.part.keys) == set(tensors)


def test_every_tensor_of_a_checkpoint_has_a_place():
    tensors = checkpoint_tensors(DUAL)
    file = file_of(tensors)
    family, detection = detect(file, FAMILIES)
    parts = family.build(file, detection)
    placed = {*parts.diffusion.part.keys, *parts.vae.keys, *(name for _, part in parts.texts for name in part.keys)}
    assert placed == set(tensors)


REFUSED = {
    "another number of channels": (
        lambda t: t | network_tensors(TinyMMDiT(channels=4)),
        "4 input channels and 4 output channels; this version runs those of 16",
    ),
    "a part is missing": (
        lambda t: {name: each for name, each in t.items() if not name.startswith("y_embedder")},
        "its transformer lacks y_embedder",
    ),
    "a tensor is missing": (
        lambda t: {name: each for name, each in t.items() if name != "joint_blocks.1.x_block.attn.proj.bias"},
        "its transformer lacks 1 tensors, such as joint_blocks.1.x_block.attn.proj.bias",
    ),
    "heads do not divide": (
        lambda t: t | network_tensors(TinyMMDiT(width=160)),
        "attention heads do not divide its width 160",
    ),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_files_that_cannot_be_are_refused_with_the_reason(change, said):
    if "divide" in said:
        file = file_of(change(network_tensors()), {"weft.config": '{"unet": {"heads": 3}}'})
    else:
        file = file_of(change(network_tensors()))
    with pytest.raises(ModelFileError, match=said):
        diffusion_model_of(file, Memory(mode="cpu"))


# ---------------------------------------------------------------- sampling


def test_packs_read_what_it_is():
    network = model().model
    config = network.model_config.unet_config
    assert network.model_type is ModelType.FLOW
    assert (network.is_adm(), network.adm_channels, network.text_width) == (True, 80, 96)
    assert (config["in_channels"], config["depth"], config["qk_norm"]) == (16, 3, "rms")
    assert config["x_block_self_attn_layers"] == [0, 1]


@pytest.mark.parametrize("shape", [(1, 16, 9, 7), (3, 16, 8, 12), (1, 16, 1, 5)])
def test_pictures_of_any_size_and_number_are_drawn(shape):
    found = drawn(model(), shape)
    assert found.shape == shape
    assert found.isfinite().all()


def test_texts_of_other_lengths_go_into_calls_of_their_own():
    handle, lengths = model(), []
    network = handle.model.diffusion_model
    network.register_forward_pre_hook(lambda _, args, given: lengths.append(given["context"].shape), with_kwargs=True)
    drawn(handle, negative=18)
    assert lengths == [(1, 9, 96), (1, 18, 96)] * 2


def test_both_sides_of_one_length_share_a_call():
    handle, lengths = model(), []
    network = handle.model.diffusion_model
    network.register_forward_pre_hook(lambda _, args, given: lengths.append(given["y"].shape), with_kwargs=True)
    drawn(handle)
    assert lengths == [(2, 80)] * 2


def refused(tokens: Tensor, options: dict[str, object]) -> str:
    """The message with which a conditioning is refused."""
    settings = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
    with pytest.raises(NodeInputError) as found:
        sample(
            model(), {"samples": torch.zeros(1, 16, 8, 8)}, positive=[[tokens, options]], negative=text(2), **settings
        )
    return str(found.value)


@pytest.mark.parametrize(("options", "has"), [({}, "none"), ({"pooled_output": torch.zeros(1, 48)}, "one of width 48")])
def test_text_without_a_fitting_pooled_vector_is_refused(options, has):
    assert f"a pooled vector of width 80; this one has {has}" in refused(torch.zeros(1, 9, 96), options)


def test_text_of_another_width_is_refused():
    said = refused(torch.zeros(1, 9, 77), {"pooled_output": torch.zeros(1, 80)})
    assert "takes text of width 96, and this conditioning has 77." in said


def test_skipped_blocks_push_the_picture_and_only_in_their_part_of_the_sampling():
    handle = model()
    plain = drawn(handle)
    [pushed] = SkipLayerGuidanceSD3().skip_guidance(handle, "1, 2", 3.0, 0.0, 1.0)
    [never] = SkipLayerGuidanceSD3().skip_guidance(handle, "1, 2", 3.0, 0.9, 0.95)
    assert not torch.allclose(drawn(pushed), plain, rtol=1e-3)
    assert torch.equal(drawn(never), plain)
    assert SkipLayerGuidanceSD3().skip_guidance(handle, "", 3.0, 0.0, 1.0) == (handle,)


def test_the_negative_side_may_do_without_blocks():
    handle = model()
    [changed] = SkipLayerGuidanceDiTSimple().skip_guidance(handle, "1", "", 0.0, 1.0)
    assert not torch.allclose(drawn(changed), drawn(handle), rtol=1e-3)


# ---------------------------------------------------------------- changed weights

KOHYA, PEFT = (".lora_up.weight", ".lora_down.weight"), (".lora_B.weight", ".lora_A.weight")
QKV, THIRD = "joint_blocks.1.x_block.attn.qkv", slice(WIDTH, 2 * WIDTH)
TEXT_QKV = "joint_blocks.1.context_block.attn.qkv"
LAYOUTS = {
    "kohya": ("lora_unet_joint_blocks_1_x_block_attn_proj", KOHYA, "joint_blocks.1.x_block.attn.proj", slice(None)),
    "kohya, fused": ("lora_unet_joint_blocks_1_x_block_attn_qkv", KOHYA, QKV, slice(None)),
    "original names": ("diffusion_model.joint_blocks.1.x_block.attn.qkv", PEFT, QKV, slice(None)),
    "diffusers": ("transformer.transformer_blocks.1.attn.to_k", PEFT, QKV, THIRD),
    "diffusers, of the text": ("transformer.transformer_blocks.1.attn.add_k_proj", PEFT, TEXT_QKV, THIRD),
    "diffusers, alone": (
        "transformer.transformer_blocks.1.attn2.to_k",
        PEFT,
        "joint_blocks.1.x_block.attn2.qkv",
        THIRD,
    ),
    "diffusers, out": (
        "transformer.transformer_blocks.1.attn.to_out.0",
        PEFT,
        "joint_blocks.1.x_block.attn.proj",
        slice(None),
    ),
    "OneTrainer": ("lora_transformer_transformer_blocks_1_attn_to_k", KOHYA, QKV, THIRD),
    "LyCORIS": ("lycoris_transformer_blocks_1_attn_to_k", KOHYA, QKV, THIRD),
    "without a prefix": ("transformer_blocks.1.attn.to_k", PEFT, QKV, THIRD),
}


@pytest.mark.parametrize(("name", "ends", "layer", "rows"), LAYOUTS.values(), ids=LAYOUTS)
def test_loras_of_every_layout_change_the_rows_they_mean(name, ends, layer, rows):
    handle = model()
    pristine = handle.model.part.weights[f"{layer}.weight"]
    up, down = torch.randn(pristine[rows].shape[0], 2), torch.randn(2, pristine.shape[1])
    changed, _ = apply_lora(file_of({f"{name}{ends[0]}": up, f"{name}{ends[1]}": down}), handle, None, 0.5, 0.0)
    wanted = pristine.clone()
    wanted[rows] += 0.5 * up @ down
    torch.testing.assert_close(changed.patched_weights()[f"{layer}.weight"], wanted, rtol=1e-5, atol=1e-5)


def test_three_loras_of_one_fused_layer_change_a_third_each():
    handle, tensors = model(), {}
    for part in ("to_q", "to_k", "to_v"):
        tensors[f"transformer.transformer_blocks.0.attn.{part}.lora_B.weight"] = torch.randn(WIDTH, 2)
        tensors[f"transformer.transformer_blocks.0.attn.{part}.lora_A.weight"] = torch.randn(2, WIDTH)
    changed, _ = apply_lora(file_of(tensors), handle, None, 1.0, 0.0)
    key = "joint_blocks.0.x_block.attn.qkv.weight"
    name = "transformer.transformer_blocks.0.attn"
    delta = torch.cat(
        [
            tensors[f"{name}.{part}.lora_B.weight"] @ tensors[f"{name}.{part}.lora_A.weight"]
            for part in ("to_q", "to_k", "to_v")
        ]
    )
    wanted = handle.model.part.weights[key] + delta
    torch.testing.assert_close(changed.patched_weights()[key], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("norm_out.linear", "final_layer.adaLN_modulation.1"),
        ("transformer_blocks.2.norm1_context.linear", "joint_blocks.2.context_block.adaLN_modulation.1"),
    ],
)
def test_halves_that_diffusers_swaps_are_swapped_back(name, layer):
    handle, up, down = model(), torch.randn(2 * WIDTH, 2), torch.randn(2, WIDTH)
    lora = file_of({f"transformer.{name}.lora_B.weight": up, f"transformer.{name}.lora_A.weight": down})
    changed, _ = apply_lora(lora, handle, None, 1.0, 0.0)
    pristine = handle.model.part.weights[f"{layer}.weight"]
    wanted = pristine + torch.cat([up[WIDTH:], up[:WIDTH]]) @ down
    torch.testing.assert_close(changed.patched_weights()[f"{layer}.weight"], wanted, rtol=1e-5, atol=1e-5)


def test_diffusers_names_are_those_of_its_own_module():
    from tests.maths.test_mmdit import theirs

    named = {name.rpartition(".")[0] for name, _ in theirs(DUAL).named_parameters()}
    assert {*model().model.diffusion_model.other_names(), "context_embedder"} >= named


def test_two_models_are_merged_part_by_part():
    one, other = model(), model()
    other.add_patches(
        {f"diffusion_model.{key}": ("diff", (torch.ones_like(w),)) for key, w in one.model.part.weights.items()}
    )
    shares = dict.fromkeys(merging.ModelMergeSD3_2B.LAYERS, 1.0) | {"joint_blocks.1.": 0.25, "pos_embed.": 0.5}
    [merged] = merging.ModelMergeSD3_2B().merge(one, other, **shares)
    found, start = merged.patched_weights(), one.model.part.weights
    moved = {key: (found[key] - start[key]).mean().item() for key in start}
    assert moved["joint_blocks.1.x_block.mlp.fc1.weight"] == pytest.approx(0.75, abs=1e-4)
    assert moved["joint_blocks.2.x_block.mlp.fc1.weight"] == pytest.approx(0.0, abs=1e-4)
    assert moved["pos_embed"] == pytest.approx(0.5, abs=1e-4)


def test_blocks_beyond_those_of_medium_have_shares_in_large():
    assert merging.ModelMergeSD35_Large.LAYERS[-2:] == ("joint_blocks.37.", "final_layer.")
    one, other = model(), model()
    shares = dict.fromkeys(merging.ModelMergeSD35_Large.LAYERS, 1.0)
    [merged] = merging.ModelMergeSD35_Large().merge(one, other, **shares)
    key = "joint_blocks.0.x_block.mlp.fc1.weight"
    torch.testing.assert_close(merged.patched_weights()[key], one.model.part.weights[key])


# ---------------------------------------------------------------- stored and placed


def test_weights_of_eight_bits_draw_nearly_the_same_picture():
    plain, eight = drawn(model()), drawn(model(weight_dtype="fp8_e4m3fn"))
    assert 0 < ((plain - eight).norm() / plain.norm()).item() < 0.2


def test_weights_in_half_precision_compute_in_float32():
    half = model(dtype=torch.float16)
    rounded = {name: tensor.half().float() for name, tensor in network_tensors(DUAL).items()}
    whole = diffusion_model_of(file_of(rounded), Memory(mode="cpu"))
    torch.testing.assert_close(drawn(half), drawn(whole), rtol=1e-4, atol=1e-4)


class Copies:
    """A carrier that brings copies."""

    def keep(self, weight: Tensor, before: Tensor | None = None) -> Tensor:
        return weight

    def send(self, weights: Mapping[str, Tensor], beside: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        return {name: weight.clone() for name, weight in weights.items()}

    def wait(self, weights: Mapping[str, Tensor]) -> None:
        pass

    def done(self, weights: Mapping[str, Tensor]) -> None:
        pass

    def close(self) -> None:
        pass


def test_weights_that_travel_layer_by_layer_give_the_same_answer():
    network = model(dtype=torch.float16).model.diffusion_model
    cast_leaves(network)
    [text_tokens, more] = text(1)[0]
    call = (torch.randn(1, 16, 8, 8), torch.tensor([500.0]), text_tokens, more["pooled_output"])
    with torch.no_grad():
        plain = network(*call)
        stream = Stream(network, Copies())
        assert torch.equal(network(*call), plain)
        assert torch.equal(network(*call), plain)
    stream.close()


def test_a_saved_checkpoint_holds_the_original_names():
    from nodes.builtin.model_saving import diffusion_tensors

    tensors = {UNET + name: tensor for name, tensor in network_tensors(DUAL).items()}
    handle = diffusion_model_of(file_of(tensors), Memory(mode="cpu"))
    found = diffusion_tensors(handle)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
