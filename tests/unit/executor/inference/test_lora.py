"""LoRA files under every layout's names change the weights they mean."""

from pathlib import Path

import pytest
import torch

from executor import context
from executor.errors import ModelFileError
from executor.inference.checkpoint import Checkpoint
from executor.inference.lora import apply_lora
from executor.inference.weights import WeightFile

UP, DOWN = torch.randn(16, 2), torch.randn(2, 16)
TO_OUT = "input_blocks.1.1.transformer_blocks.0.attn1.to_out.0.weight"
TO_Q = "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
Q_PROJ = "encoder.layers.1.self_attn.q_proj.weight"
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"


def file(tensors):
    return WeightFile(path=Path("style.safetensors"), tensors=tensors)


def factors(name, up, down, ends):
    return {f"{name}{ends[0]}": up, f"{name}{ends[1]}": down}


KOHYA = (".lora_up.weight", ".lora_down.weight")
PEFT = (".lora_B.weight", ".lora_A.weight")
OLD = ("_lora.up.weight", "_lora.down.weight")
LAYOUTS = {
    "kohya": ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", KOHYA, TO_Q),
    "kohya, original names": ("lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q", KOHYA, TO_Q),
    "kohya, output projection": ("lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_out_0", KOHYA, TO_OUT),
    "peft": (f"unet.{ATTENTION}.to_q", PEFT, TO_Q),
    "peft, wrapped": (f"base_model.model.{ATTENTION}.to_q", PEFT, TO_Q),
    "diffusers": (f"unet.{ATTENTION}.processor.to_q", OLD, TO_Q),
    "diffusers, output projection": (f"unet.{ATTENTION}.processor.to_out", OLD, TO_OUT),
    "diffusers, linear layer": (
        f"unet.{ATTENTION}.to_q",
        (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
        TO_Q,
    ),
    "OneTrainer": ("lora_unet_down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", KOHYA, TO_Q),
    "original names": (f"diffusion_model.{TO_Q.removesuffix('.weight')}", PEFT, TO_Q),
    "LyCORIS": ("lycoris_input_blocks_1_1_transformer_blocks_0_attn1_to_q", KOHYA, TO_Q),
}


@pytest.mark.parametrize(("name", "ends", "key"), LAYOUTS.values(), ids=LAYOUTS)
def test_names_of_a_layout_mean_the_unets_weight(tiny: Checkpoint, name, ends, key):
    lora = file({**factors(name, UP, DOWN, ends), f"{name}.alpha": torch.tensor(1.0)})
    model, clip = apply_lora(lora, tiny.model, tiny.clip, 0.5, 1.0)
    assert clip is tiny.clip
    pristine = tiny.model.model.part.weights[key]
    wanted = (pristine.float() + 0.5 * (0.5 * UP @ DOWN)).half()
    torch.testing.assert_close(model.patched_weights()[key], wanted, rtol=0, atol=1e-3)
    assert list(model.patches) == [f"diffusion_model.{key}"]


TEXT_LAYOUTS = {
    "kohya": ("lora_te_text_model_encoder_layers_1_self_attn_q_proj", KOHYA),
    "OneTrainer": ("lora_te1_text_model_encoder_layers_1_self_attn_q_proj", KOHYA),
    "peft": ("text_encoder.text_model.encoder.layers.1.self_attn.q_proj", PEFT),
    "diffusers": ("text_encoder.text_model.encoder.layers.1.self_attn.to_q", OLD),
    "original names": ("clip_l.transformer.text_model.encoder.layers.1.self_attn.q_proj", PEFT),
}


@pytest.mark.parametrize(("name", "ends"), TEXT_LAYOUTS.values(), ids=TEXT_LAYOUTS)
def test_names_of_a_layout_mean_the_text_encoders_weight(tiny: Checkpoint, name, ends):
    up, down = torch.randn(32, 2), torch.randn(2, 32)
    model, clip = apply_lora(file(factors(name, up, down, ends)), tiny.model, tiny.clip, 1.0, 0.5)
    assert model is tiny.model
    assert clip is not None
    found = clip.get_sd()[f"clip_l.transformer.text_model.{Q_PROJ}"]
    wanted = (tiny.clip.part.weights[Q_PROJ].float() + 0.5 * up @ down).half()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        ({"hada_w1_a": UP, "hada_w1_b": DOWN, "hada_w2_a": UP, "hada_w2_b": DOWN}, "weight"),
        ({"lokr_w1": torch.randn(4, 4), "lokr_w2_a": torch.randn(4, 1), "lokr_w2_b": torch.randn(1, 4)}, "weight"),
        ({"lora_up.weight": UP, "lora_down.weight": DOWN, "dora_scale": torch.rand(16, 1)}, "weight"),
        ({"a1.weight": UP, "a2.weight": DOWN, "b1.weight": UP, "b2.weight": DOWN}, "weight"),
        ({"oft_blocks": torch.randn(4, 4, 4)}, "weight"),
        ({"oft_blocks": torch.randn(2, 4, 4, 4), "rescale": torch.rand(16, 1)}, "weight"),
        ({"diff": torch.randn(16, 16)}, "weight"),
        ({"set_weight": torch.randn(16, 16)}, "weight"),
        ({"diff_b": torch.randn(16)}, "bias"),
    ],
    ids=["LoHa", "LoKr", "DoRA", "GLoRA", "OFT", "BOFT", "difference", "replacement", "bias"],
)
def test_every_form_changes_its_weight(tiny: Checkpoint, parts, key):
    name = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_out_0"
    lora = file({f"{name}.{part}": tensor for part, tensor in parts.items()})
    model, _ = apply_lora(lora, tiny.model, None, 1.0, 0.0)
    changed = f"{TO_OUT.removesuffix('weight')}{key}"
    assert list(model.patches) == [f"diffusion_model.{changed}"]
    assert not torch.equal(model.patched_weights()[changed], tiny.model.model.part.weights[changed])


@pytest.mark.parametrize("ending", ["lora_magnitude_vector", "lora_magnitude_vector.weight"])
def test_pefts_magnitudes_of_a_kernel_are_those_of_its_outputs(tiny: Checkpoint, ending):
    """PEFT shapes them [1, out, 1, 1]."""
    name, key = "unet.down_blocks.1.resnets.0.conv1", "input_blocks.3.0.in_layers.2.weight"
    up, down, lengths = torch.randn(24, 2, 1, 1), torch.randn(2, 16, 3, 3), torch.rand(24) + 0.5
    lora = file({**factors(name, up, down, PEFT), f"{name}.{ending}": lengths.reshape(1, 24, 1, 1)})
    model, _ = apply_lora(lora, tiny.model, None, 1.0, 0.0)
    changed = model.patched_weights()[key]
    torch.testing.assert_close(changed.float().flatten(1).norm(dim=1), lengths, rtol=1e-3, atol=1e-3)


def test_convolutions_and_time_layers_are_found(tiny: Checkpoint):
    names = ("down_blocks_0_resnets_0_conv1", "time_embedding_linear_1", "mid_block_resnets_1_conv2", "conv_in")
    lora = file({f"lora_unet_{name}.diff": torch.zeros(1) for name in names})
    model, _ = apply_lora(lora, tiny.model, None, 1.0, 0.0)
    assert sorted(model.patches) == [
        "diffusion_model.input_blocks.0.0.weight",
        "diffusion_model.input_blocks.1.0.in_layers.2.weight",
        "diffusion_model.middle_block.2.out_layers.3.weight",
        "diffusion_model.time_embed.0.weight",
    ]


class Texts(context.SilentProgress):
    def text(self, node_id, message):
        self.told = (node_id, message)


def test_a_lora_that_fits_nothing_changes_nothing_and_is_told_at_the_node(tiny: Checkpoint, caplog):
    lora, sink = file(factors("lora_unet_double_blocks_0_img_attn_qkv", UP, DOWN, KOHYA)), Texts()
    with context.entered(context.RunContext(node_id="7", sink=sink)):
        model, clip = apply_lora(lora, tiny.model, tiny.clip, 1.0, 1.0)
    assert (model, clip) == (tiny.model, tiny.clip)
    expected = "style.safetensors: none of its 1 layers fits this sd15 model (it has lora_unet_double_blocks"
    assert expected in caplog.text
    assert sink.told[0] == "7"
    assert sink.told[1].startswith(expected)


def test_a_part_that_fits_is_applied_and_the_rest_told(tiny: Checkpoint, caplog):
    names = ("lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q", "lora_unet_nowhere")
    lora = file({key: t for name in names for key, t in factors(name, UP, DOWN, KOHYA).items()})
    model, _ = apply_lora(lora, tiny.model, tiny.clip, 1.0, 1.0)
    assert len(model.patches) == 1
    assert "1 of 2 layers fit nothing, such as lora_unet_nowhere" in caplog.text


def test_another_file_is_refused(tiny: Checkpoint):
    with pytest.raises(ModelFileError, match=r"looks like a VAE .*; a LoRA file fits here"):
        apply_lora(file({"decoder.up.0.block.0.conv1.weight": UP}), tiny.model, None, 1.0, 0.0)


def test_the_text_it_reads_changes(tiny: Checkpoint):
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    lora = file({f"{name}.diff": torch.randn(128, 32)})
    _, clip = apply_lora(lora, tiny.model, tiny.clip, 1.0, 1.0)
    before, changed = tiny.clip.encode("a circle")[0][0], clip.encode("a circle")[0][0]
    assert not torch.equal(changed, before)
    assert torch.equal(tiny.clip.encode("a circle")[0][0], before)
