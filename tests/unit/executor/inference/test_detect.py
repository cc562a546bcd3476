"""Which family a file is of, what sizes are read from it, and how other files are named."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.detect import detect
from executor.inference.families import FAMILIES
from executor.inference.families.latent_diffusion import Config
from executor.inference.weights import WeightFile
from tests.tiny_checkpoint import TEXT, UNET, VAE, TinySizes, random_tensors, tiny_tensors
from tests.tiny_families import CLIP_G, open_clip_shapes, tensors_of

SMALL = TinySizes(vocabulary=100)


def file_of(tensors: dict[str, Tensor], config: str = "{}") -> WeightFile:
    """A file as it would be read from disk."""
    return WeightFile(path=Path("m.safetensors"), tensors=tensors, metadata={"weft.config": config})


def config_of(sizes: TinySizes, config: str = "{}") -> Config:
    """The sizes that are read from a small checkpoint."""
    found = detect(file_of(tiny_tensors(sizes), config), FAMILIES)[1].config
    assert isinstance(found, Config)
    return found


def refusal(file: WeightFile) -> str:
    """The message with which a file is refused."""
    with pytest.raises(ModelFileError) as refused:
        detect(file, FAMILIES)
    return str(refused.value)


def test_names_the_family():
    assert detect(file_of(tiny_tensors(SMALL)), FAMILIES)[0].name == "sd15"


def test_tells_the_type_of_the_weights():
    assert detect(file_of(tiny_tensors(SMALL, dtype=torch.bfloat16)), FAMILIES)[1].dtype == torch.bfloat16


@pytest.mark.parametrize(
    "sizes",
    [
        SMALL,
        TinySizes(vocabulary=100, widths=(16,), attends=(True,)),
        TinySizes(vocabulary=100, widths=(16, 16, 24, 24), attends=(True, True, True, False), layers=2),
        TinySizes(vocabulary=100, widths=(16, 32), attends=(False, True), depth=2, context=64),
    ],
    ids=["two levels", "one level", "as SD1.5", "deep and wide context"],
)
def test_reads_the_unet_from_shapes(sizes):
    unet = config_of(sizes).unet
    side = [layer for block in unet.input for layer in block]
    attending = {layer.out for layer in side if layer.kind == "attention"}
    widths = [layer.out for layer in side if layer.kind == "residual"]
    assert widths == [width for width in sizes.widths for _ in range(sizes.layers)]
    assert attending == {width for width, attends in zip(sizes.widths, sizes.attends, strict=True) if attends}
    assert {layer.depth for layer in (*side, *unet.middle) if layer.kind == "attention"} == {sizes.depth}
    assert unet.context == sizes.context


def test_reads_the_text_model_from_shapes():
    text = config_of(TinySizes(vocabulary=321, text_layers=3, context=64)).texts[0]
    assert (text.width, text.layers, text.vocabulary, text.positions, text.intermediate) == (64, 3, 321, 77, 256)


def test_reads_the_vae_from_shapes():
    vae = config_of(TinySizes(vocabulary=100, vae_widths=(4, 8, 8), vae_layers=2)).vae
    assert (vae.encoder_widths, vae.decoder_widths, vae.encoder_layers, vae.decoder_layers) == (
        (4, 8, 8),
        (4, 8, 8),
        2,
        2,
    )


@pytest.mark.parametrize(("width", "heads"), [(16, 8), (24, 8), (12, 6), (20, 5)])
def test_unet_heads_are_eight_where_that_divides(width, heads):
    assert config_of(TinySizes(vocabulary=100, widths=(width,), attends=(True,))).unet.heads_of(width) == heads


@pytest.mark.parametrize(("width", "heads"), [(32, 4), (256, 4), (768, 12)])
def test_text_heads_are_64_wide_and_at_least_four(width, heads):
    assert config_of(TinySizes(vocabulary=2, context=width, text_layers=1)).texts[0].heads == heads


def test_the_header_sets_head_counts():
    config = config_of(SMALL, '{"unet": {"heads": 2, "norm_groups": "gcd32"}, "text": {"heads": 8}}')
    assert (config.unet.heads, config.texts[0].heads) == (2, 8)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ('{"unet": {"heads": 7}}', "7 attention heads do not divide its width 16"),
        ('{"unet": {"heads": "two"}}', "asks for 'two' heads"),
        ('{"unet": {"norm_groups": "one"}}', "asks for norm_groups 'one'; known: 'gcd32'"),
        ('{"text": 3}', "has no object under 'text'"),
    ],
)
def test_refuses_a_header_that_cannot_be(config, reason):
    assert reason in refusal(file_of(tiny_tensors(SMALL), config))


@pytest.mark.parametrize(
    ("prefixes", "missing"),
    [((VAE,), ("VAE",)), ((TEXT,), ("text encoder",)), ((VAE, TEXT), ("text encoder", "VAE"))],
)
def test_a_file_without_a_part_is_of_its_family_all_the_same(prefixes, missing):
    tensors = {name: tensor for name, tensor in tiny_tensors(SMALL).items() if not name.startswith(prefixes)}
    family, detection = detect(file_of(tensors), FAMILIES)
    parts = family.build(file_of(tensors), detection)
    assert (family.name, parts.missing) == ("sd15", missing)
    assert (parts.vae is None, parts.texts == ()) == ("VAE" in missing, "text encoder" in missing)


@pytest.mark.parametrize(
    "name",
    [
        f"{UNET}time_embed.0.weight",
        f"{TEXT}embeddings.token_embedding.weight",
        f"{VAE}decoder.conv_in.weight",
    ],
)
def test_names_the_tensor_that_sizes_cannot_be_read_without(name):
    tensors = tiny_tensors(SMALL)
    del tensors[name]
    assert f"lacks {name.removeprefix(UNET).removeprefix(TEXT).removeprefix(VAE)}" in refusal(file_of(tensors))


def test_refuses_networks_by_their_channels():
    assert "an SD1.x model of 5 input channels" in refusal(
        file_of(tiny_tensors(TinySizes(vocabulary=100, in_channels=5)))
    )


def test_refuses_a_text_width_that_the_unet_does_not_take():
    tensors = tiny_tensors(SMALL) | {
        name: tensor for name, tensor in tiny_tensors(TinySizes(vocabulary=100, context=64)).items() if TEXT in name
    }
    assert "its text encoder gives width 64 and its UNet takes 32" in refusal(file_of(tensors))


LOOKS = {
    "lora_unet_mid_block.lora_down.weight": "a LoRA; it belongs into models/loras",
    "unet.down.lora_A.weight": "a LoRA",
    "control_model.input_hint_block.0.weight": "a ControlNet",
    "emb_params": "a textual-inversion embedding",
    "conditioner.embedders.1.model.ln_final.weight": "an SDXL checkpoint",
    "conditioner.embedders.0.model.ln_final.weight": "an SDXL refiner",
    "cond_stage_model.model.ln_final.weight": "a Stable Diffusion 2.x checkpoint",
    "double_blocks.0.img_attn.qkv.weight": "a Flux model",
    "decoder.up.0.block.0.conv1.weight": "a VAE without a diffusion model",
    "text_model.encoder.layers.0.mlp.fc1.weight": "a CLIP text encoder",
    "down_blocks.0.resnets.0.conv1.weight": "diffusers' folder layout",
    "model.layers.0.self_attn.q_proj.weight": "a language model",
    "ip_adapter.1.to_k_ip.weight": "an IP-Adapter",
    "model.1.sub.0.RDB1.conv1.0.weight": "an upscaling model; it belongs into models/upscale_models",
    "position_net.linears.0.weight": "a GLIGEN model",
    "speaker.weight": "nothing known (1 tensors, the first is 'speaker.weight')",
}


@pytest.mark.parametrize(("name", "looks"), LOOKS.items(), ids=LOOKS.values())
def test_says_what_another_file_looks_like(name, looks):
    assert f"looks like {looks}" in refusal(file_of({name: torch.zeros(2)})) or looks in refusal(
        file_of({name: torch.zeros(2)})
    )


def test_says_which_families_there_are():
    assert "loads checkpoints of these families: sd15" in refusal(file_of({"lora_up.weight": torch.zeros(2)}))


@pytest.mark.parametrize("family", ["sd2", "sdxl", "sdxl_refiner"])
def test_tells_the_families_apart(family):
    assert detect(file_of(tensors_of(family, vocabulary=100)), FAMILIES)[0].name == family


@pytest.mark.parametrize("family", ["sd2", "sdxl", "sdxl_refiner"])
def test_tells_networks_apart_that_come_alone(family):
    tensors = {name: tensor for name, tensor in tensors_of(family, vocabulary=2).items() if name.startswith(UNET)}
    names = {name: name.removeprefix(UNET) for name in tensors}
    fitting = [each.name for each in FAMILIES if each.build_diffusion(file_of(tensors), names) is not None]
    assert fitting == [family]


@pytest.mark.parametrize(("mark", "what"), [("noise_augmentor.x", "unCLIP"), ("cc_projection.weight", "Zero123")])
def test_refuses_networks_of_the_same_outline(mark, what):
    assert what in refusal(file_of(tensors_of("sd2", vocabulary=2) | {mark: torch.zeros(2)}))


def test_sdxl_without_one_of_its_encoders_has_no_text_model():
    tensors = {name: t for name, t in tensors_of("sdxl", vocabulary=2).items() if not name.startswith(CLIP_G)}
    family, detection = detect(file_of(tensors), FAMILIES)
    parts = family.build(file_of(tensors), detection)
    assert (family.name, parts.missing, parts.texts) == ("sdxl", ("text encoder (G)",), ())


def test_sdxls_text_width_is_that_of_both_encoders():
    tensors = tensors_of("sdxl", vocabulary=2) | random_tensors({CLIP_G: open_clip_shapes(64, vocabulary=2)})
    assert "its text encoder gives width 96 and its UNet takes 80" in refusal(file_of(tensors))


@pytest.mark.parametrize(("part", "blocks"), [("output_blocks", 0), ("output_blocks.3.", 3)])
def test_a_network_that_lacks_a_whole_part_is_refused(part, blocks):
    tensors = {name: tensor for name, tensor in tiny_tensors().items() if f"{UNET}{part}" not in name}
    if blocks:
        assert "lacks output_blocks.3.0" in refusal(file_of(tensors)) or "output blocks" in refusal(file_of(tensors))
    else:
        assert "of 4 input blocks and 0 output blocks: a part of it is missing" in refusal(file_of(tensors))
