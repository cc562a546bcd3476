"""What packs ask of files and MODELs to know their kind: detection, classes of families, text models."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from executor.inference.checkpoint import load_diffusion_model
from executor.inference.families import FAMILIES
from executor.inference.families import families as known_families
from executor.inference.memory import Memory
from tests.tiny_flux import flux_tensors, random_flux, write_flux
from tests.tiny_qwen_image import qwen_image_tensors, write_qwen_image
from tests.tiny_sd3 import TinyMMDiT, network_tensors
from tests.tiny_wan import random_wan, wan_tensors, write_wan
from tests.unit.nodes.compat.conftest import Host
from tests.unit.nodes.compat.test_sampling import Bench, bench

__all__ = ["bench"]  # the fixture


def sdxl_like() -> dict[str, Tensor]:
    """Names and shapes of the tensors that tell SDXL's sizes, none of them with memory."""
    shapes: dict[str, tuple[int, ...]] = {
        "time_embed.0.weight": (1280, 320), "label_emb.0.0.weight": (1280, 2816),
        "input_blocks.0.0.weight": (320, 4, 3, 3), "out.2.weight": (4, 320, 3, 3),
    }  # fmt: skip
    places, into = {3: "down", 6: "down"}, 320
    for block in range(1, 9):
        if block in places:
            shapes[f"input_blocks.{block}.0.op.weight"] = (into, into, 3, 3)
            continue
        out = 320 * (1 + (block > 3) + 2 * (block > 6))
        shapes[f"input_blocks.{block}.0.in_layers.2.weight"] = (out, into, 3, 3)
        into = out
        for depth in range({True: 2, False: 0}[3 < block < 6] or (10 if block > 6 else 0)):
            transformer = f"input_blocks.{block}.1"
            shapes[f"{transformer}.proj_in.weight"] = (out, out)
            shapes[f"{transformer}.transformer_blocks.{depth}.attn2.to_k.weight"] = (out, 2048)
    shapes["middle_block.0.in_layers.2.weight"] = (1280, 1280, 3, 3)
    for depth in range(10):
        shapes["middle_block.1.proj_in.weight"] = (1280, 1280)
        shapes[f"middle_block.1.transformer_blocks.{depth}.attn2.to_k.weight"] = (1280, 2048)
    shapes["middle_block.2.in_layers.2.weight"] = (1280, 1280, 3, 3)
    return {f"model.diffusion_model.{name}": torch.empty(shape, device="meta") for name, shape in shapes.items()}


def test_sizes_of_a_network_are_read_from_its_tensors(host: Host):
    detection, tensors = host("comfy.model_detection"), sdxl_like()
    prefix = detection.unet_prefix_from_state_dict(tensors)
    sizes = detection.detect_unet_config(tensors, prefix)
    assert prefix == "model.diffusion_model."
    wanted = {
        "in_channels": 4, "out_channels": 4, "model_channels": 320, "adm_in_channels": 2816, "context_dim": 2048,
        "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_middle": 10, "use_linear_in_transformer": True, "num_classes": "sequential",
    }  # fmt: skip
    assert {name: sizes[name] for name in wanted} == wanted


def test_a_family_is_found_by_the_sizes(host: Host):
    found = host("comfy.model_detection").model_config_from_unet(sdxl_like(), "model.diffusion_model.")
    models = host("comfy.supported_models")
    assert type(found) is models.SDXL
    assert isinstance(found.latent_format, host("comfy.latent_formats").SDXL)
    assert found.model_type({}) is host("comfy.model_base").ModelType.EPS
    assert not found.inpaint_model()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("joint_blocks.0.x_block.attn.qkv.weight", "sd3"), ("double_blocks.0.img_attn.norm.key_norm.scale", "flux")],
)
def test_networks_of_other_kinds_are_named(host: Host, name: str, kind: str):
    detection, tensors = host("comfy.model_detection"), {name: torch.empty(1, device="meta")}
    assert detection.unet_prefix_from_state_dict(tensors) == ""
    assert detection.detect_unet_config(tensors, "") == {"image_model": kind}
    assert detection.model_config_from_unet(tensors, "") is None
    assert detection.model_config_from_unet(tensors, "", use_base_if_no_match=True).unet_config == {"image_model": kind}


def test_a_longer_list_leaves_every_family_and_a_shorter_one_drops_its_own(host: Host):
    models = host("comfy.supported_models")
    models.models = [object, *models.models]
    assert list(known_families()) == list(FAMILIES)
    models.models = [each for each in models.models if each is not models.SDXL]
    assert [family.name for family in FAMILIES if family not in known_families()] == ["sdxl"]


def test_what_is_no_network_has_no_sizes(host: Host):
    assert host("comfy.model_detection").detect_unet_config({"a": torch.zeros(1)}, "") is None


def test_a_model_tells_its_kind(bench: Bench):
    base = bench.host("comfy.model_base")
    model = bench.model.model
    assert isinstance(model, base.BaseModel)
    assert not isinstance(model, base.SDXL)
    assert not isinstance(object(), base.SDXL)
    assert model.model_type is base.ModelType.EPS
    assert model.model_config.unet_config["context_dim"] == bench.positive[0][0].shape[-1]


def test_tensors_of_a_network_make_a_model(bench: Bench):
    path = bench.host.base / "models/checkpoints/tiny.safetensors"
    tensors = bench.host("comfy.utils").load_torch_file(str(path))
    loaded = bench.host("comfy.sd").load_diffusion_model_state_dict(tensors)
    key = next(iter(bench.model.model_state_dict()))
    assert torch.equal(loaded.model_state_dict()[key], bench.model.model_state_dict()[key])
    assert bench.host("comfy.sd").load_diffusion_model_state_dict({"a": torch.zeros(1)}) is None


def test_text_models_are_looked_into(bench: Bench):
    path = bench.host.base / "models/checkpoints/tiny.safetensors"
    clip = bench.host("comfy.sd").load_checkpoint_guess_config(str(path))[1]
    stage, sd1, sdxl = clip.cond_stage_model, bench.host("comfy.sd1_clip"), bench.host("comfy.sdxl_clip")
    assert isinstance(stage, sd1.SD1ClipModel)
    assert not isinstance(stage, sdxl.SDXLClipModel)
    assert isinstance(stage.clip_l, sd1.SDClipModel)
    assert not isinstance(stage.clip_l, sdxl.SDXLClipG)
    table = stage.clip_l.transformer.get_input_embeddings()
    assert table is stage.clip_l.transformer.text_model.embeddings.token_embedding
    assert set(stage.state_dict()) >= {"clip_l.transformer.text_model.final_layer_norm.weight"}
    embedding, _ = stage.encode_token_weights(clip.tokenize("a red circle"))
    assert torch.equal(embedding, bench.positive[0][0])
    stage.set_clip_options({"layer": -2})
    assert clip.layer == -2
    stage.reset_clip_options()
    assert clip.layer is None


def test_weights_of_a_prompt(host: Host):
    clip = host("comfy.sd1_clip")
    assert clip.token_weights("a (b:1.5)", 2.0) == [("a ", 2.0), ("b", 3.0)]


def test_settings_of_a_control_are_given_to_another(host: Host):
    class Mine(host("comfy.controlnet").ControlBase):
        def __init__(self) -> None:
            super().__init__()
            self.own = 1

        def copy(self) -> object:
            other = type(self)()
            self.copy_to(other)
            return other

    control = Mine()
    control.set_cond_hint(torch.rand(1, 3, 8, 8), 0.5, (0.1, 0.9))
    control.own = 2
    other = control.copy()
    assert (other.strength, other.timestep_percent_range, other.own) == (0.5, (0.1, 0.9), 1)
    assert torch.equal(other.cond_hint_original, control.cond_hint_original)


def test_tasks_of_union_controlnets(host: Host):
    assert host("comfy.cldm.control_types").UNION_CONTROLNET_TYPES["tile"] == 6


def test_a_model_answers_by_the_names_of_a_patcher(bench: Bench):
    model = bench.model.clone()
    assert model.size == model.model_size()
    assert (model.backup, model.object_patches_backup, model.lowvram_patch_counter()) == ({}, {}, 0)
    assert model.partially_load(model.load_device) == model.loaded_size()
    weight = torch.zeros(2, 2)
    assert model.calculate_weight([(1.0, ("diff", (torch.ones(2, 2),)), 1.0, None, None)], weight, "key").sum() == 4
    other = bench.model.clone()
    model.set_additional_models("k", [other])
    assert model.model_patches_models() == [other]
    assert not model.model.is_adm()
    assert next(model.model.named_parameters())[0].startswith("diffusion_model.")
    assert next(model.model.named_modules())[0] == "diffusion_model"


def test_injections_are_out_within_a_block(bench: Bench):
    log: list[str] = []
    injection = bench.host("comfy.patcher_extension").PatcherInjection(
        inject=lambda model: log.append("in"), eject=lambda model: log.append("out")
    )
    bench.model.set_injections("k", [injection])
    with bench.model.use_ejected():
        log.append("within")
    assert log == ["out", "within", "in"]


def test_no_lora_gives_no_patches(host: Host):
    assert host("comfy.lora").load_lora({}, {}) == {}


def test_a_packs_method_sees_guider_and_network(bench: Bench):
    seen: list[tuple[object, ...]] = []

    def method(model, x, sigmas, extra_args=None, callback=None, disable=None):
        inner = model.inner_model
        seen.append((sorted(inner.conds), inner.cfg, model.inner_model.inner_model.diffusion_model is network))
        return x

    network = bench.model.model.diffusion_model
    sampler = bench.host("comfy.samplers").KSAMPLER(method)
    bench.host("comfy.sample").sample_custom(
        bench.model, bench.noise(), 3.0, sampler, torch.tensor([1.0, 0.0]), bench.positive, bench.negative,
        bench.latent, seed=1,
    )  # fmt: skip
    bench.guided(bench.host("comfy.samplers").CFGGuider(bench.model), sampler)
    assert seen == [(["negative", "positive"], 3.0, True), (["negative", "positive"], 4.0, True)]
    assert not hasattr(bench.host("comfy.sampler_methods").ModelForPacks(object()), "no_such_name")


def test_wrappers_are_found_by_their_key(host: Host):
    extension, options = host("comfy.patcher_extension"), {}
    extension.add_wrapper_with_key("kind", "key", len, options)
    extension.add_callback_with_key("moment", "key", abs, options)
    assert extension.get_wrappers_with_key("kind", "key", options) == [len]
    assert extension.get_callbacks_with_key("moment", "key", options) == [abs]
    assert extension.get_wrappers_with_key("kind", "other", options) == []


def test_networks_of_stable_diffusion_3_are_told_by_their_sizes(host: Host):
    tensors = {f"model.diffusion_model.{name}": each for name, each in network_tensors(TinyMMDiT(dual=(1,))).items()}
    detection, models = host("comfy.model_detection"), host("comfy.supported_models")
    found = detection.model_config_from_unet(tensors, "model.diffusion_model.")
    assert type(found) is models.SD3
    assert (found.unet_config["depth"], found.unet_config["x_block_self_attn_layers"]) == (2, [1])
    assert (found.sampling_settings, found.model_type({})) == ({"shift": 3.0}, host("comfy.model_base").ModelType.FLOW)
    assert isinstance(found.latent_format, host("comfy.latent_formats").SD3)


def test_a_model_of_stable_diffusion_3_tells_its_kind(host: Host, tmp_path):
    save_file(network_tensors(), tmp_path / "sd3.safetensors")
    model = load_diffusion_model(tmp_path / "sd3.safetensors", Memory(mode="cpu")).model
    base, names = host("comfy.model_base"), host("comfy.ldm.modules.diffusionmodules.mmdit")
    assert isinstance(model, base.SD3)
    assert not isinstance(model, base.Flux)
    assert isinstance(model.diffusion_model, names.MMDiT)
    assert isinstance(model.diffusion_model.joint_blocks[0], names.JointBlock)


FLUX_KINDS = {"Flux": {}, "FluxSchnell": {"guidance": False}, "FluxInpaint": {"in_features": 384}}


@pytest.mark.parametrize("kind", FLUX_KINDS)
def test_networks_of_flux_are_told_apart_by_their_sizes(host: Host, kind: str):
    tensors = flux_tensors("model.diffusion_model.", **FLUX_KINDS[kind])
    detection, models = host("comfy.model_detection"), host("comfy.supported_models")
    found = detection.model_config_from_unet(tensors, "model.diffusion_model.")
    assert type(found) is getattr(models, kind)
    assert (found.unet_config["depth"], found.unet_config["depth_single_blocks"]) == (2, 3)
    assert isinstance(found.latent_format, host("comfy.latent_formats").Flux)


def test_a_flux_model_tells_its_kind(host: Host, tmp_path):
    model = load_diffusion_model(write_flux(tmp_path / "flux.safetensors"), Memory(mode="cpu")).model
    base = host("comfy.model_base")
    assert isinstance(model, base.Flux)
    assert not isinstance(model, base.SDXL)
    assert not isinstance(model, base.SD3)
    assert model.model_type is base.ModelType.FLUX
    assert isinstance(model.diffusion_model, host("comfy.ldm.flux.model").Flux)
    assert isinstance(model.diffusion_model.double_blocks[0], host("comfy.ldm.flux.layers").DoubleStreamBlock)


def test_a_qwen_image_model_tells_its_kind(host: Host, tmp_path):
    tensors = qwen_image_tensors("model.diffusion_model.")
    found = host("comfy.model_detection").model_config_from_unet(tensors, "model.diffusion_model.")
    assert isinstance(found, host("comfy.supported_models").QwenImage)
    assert isinstance(found.latent_format, host("comfy.latent_formats").Wan21)
    model = load_diffusion_model(write_qwen_image(tmp_path / "qwen.safetensors"), Memory(mode="cpu")).model
    base = host("comfy.model_base")
    assert isinstance(model, base.QwenImage)
    assert not isinstance(model, base.Flux)
    assert model.model_type is base.ModelType.FLOW
    assert isinstance(model.diffusion_model, host("comfy.ldm.qwen_image.model").QwenImageTransformer2DModel)


def test_a_pack_may_write_fluxs_way_through_its_blocks_anew(host: Host):
    layers, network = host("comfy.ldm.flux.layers"), random_flux()

    def forward_orig(img, img_ids, txt, txt_ids, timesteps, y, guidance, *others):
        img, txt = network.img_in(img), network.txt_in(txt)
        vec = network.time_in(layers.timestep_embedding(timesteps, 256).to(img.dtype)) + network.vector_in(y)
        if network.params.guidance_embed and guidance is not None:
            vec = vec + network.guidance_in(layers.timestep_embedding(guidance, 256).to(img.dtype))
        pe = network.pe_embedder(torch.cat((txt_ids, img_ids), dim=1))
        for block in network.double_blocks:
            img, txt = block(img=img, txt=txt, vec=vec, pe=pe, attn_mask=None)
        img = torch.cat((txt, img), 1)
        for block in network.single_blocks:
            mod, none = block.modulation(vec)
            both = block.linear1((1 + mod.scale) * block.pre_norm(img) + mod.shift)
            joined, inner = both.split([network.params.hidden_size * 3, block.mlp_hidden_dim], -1)
            q, k, v = joined.view(*img.shape[:2], 3, network.params.num_heads, -1).permute(2, 0, 3, 1, 4)
            mixed = host("comfy.ldm.flux.math").attention(*block.norm(q, k), v, pe)
            img = img + mod.gate * block.linear2(torch.cat((mixed, block.mlp_act(inner)), 2))
            assert none is None
        return network.final_layer(img[:, txt.shape[1] :], vec)

    x, text, told = torch.randn(1, 16, 4, 6), torch.randn(1, 5, 24), {"guidance": torch.tensor([2.0])}
    plain = network(x, torch.tensor([0.5]), text, **told)
    network.forward_orig = forward_orig
    torch.testing.assert_close(network(x, torch.tensor([0.5]), text, **told), plain)


def test_packs_turn_tokens_and_let_them_see_each_other_as_flux_does(host: Host):
    layers, maths = host("comfy.ldm.flux.layers"), host("comfy.ldm.flux.math")
    places, q, k, v = torch.rand(1, 5, 3), *torch.randn(3, 1, 2, 5, 16)
    turns = layers.EmbedND(16, 10000, [4, 6, 6])(places)
    one_axis = maths.rope(places[..., 0], 4)
    torch.testing.assert_close(turns[:, 0, :, :2], one_axis)
    turned = maths.apply_rope(q, k, turns)
    wanted = torch.nn.functional.scaled_dot_product_attention(*turned, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(maths.attention(q, k, v, turns), wanted)
    waves = layers.timestep_embedding(torch.tensor([0.5]), 8)
    torch.testing.assert_close(waves[0, 0], torch.tensor(500.0).cos())


WAN_KINDS = {
    "WAN21_T2V": {},
    "WAN21_I2V": {"in_channels": 36, "picture": 20},
    "WAN21_FunControl2V": {"in_channels": 48},
    "WAN21_Vace": {"blocks": 4, "vace_blocks": 2, "vace_channels": 96},
    "WAN22_T2V": {"in_channels": 48, "out_channels": 48},
}


@pytest.mark.parametrize("kind", WAN_KINDS)
def test_networks_of_wan_are_told_apart_by_their_sizes(host: Host, kind: str):
    tensors = wan_tensors("model.diffusion_model.", **WAN_KINDS[kind])
    detection, models = host("comfy.model_detection"), host("comfy.supported_models")
    found = detection.model_config_from_unet(tensors, "model.diffusion_model.")
    assert type(found) is getattr(models, kind)
    assert (found.unet_config["dim"], found.sampling_settings) == (48, {"shift": 8.0})
    formats = host("comfy.latent_formats")
    assert isinstance(found.latent_format, formats.Wan22 if kind == "WAN22_T2V" else formats.Wan21)


def test_a_model_of_wan_tells_its_kind(host: Host, tmp_path):
    model = load_diffusion_model(write_wan(tmp_path / "wan.safetensors"), Memory(mode="cpu")).model
    base, names = host("comfy.model_base"), host("comfy.ldm.wan.model")
    assert isinstance(model, base.WAN21)
    assert not isinstance(model, base.WAN22)
    assert not isinstance(model, base.WAN21_Vace)
    assert not isinstance(model, base.Flux)
    assert model.model_type is base.ModelType.FLOW
    assert isinstance(model.diffusion_model, names.WanModel)
    assert isinstance(model.diffusion_model.blocks[0], names.WanAttentionBlock)


def test_a_pack_may_write_wans_way_through_its_blocks_anew(host: Host):
    """The way that packs which skip steps write it."""
    names, network = host("comfy.ldm.wan.model"), random_wan()

    def forward_orig(x, t, context, clip_fea=None, freqs=None, transformer_options=None, **others):
        x = network.patch_embedding(x.float()).to(x.dtype)
        grid_sizes = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        waves = names.sinusoidal_embedding_1d(network.freq_dim, t).to(dtype=x[0].dtype)
        e = network.time_embedding(waves)
        e0 = network.time_projection(e).unflatten(1, (6, network.dim))
        context = network.text_embedding(context)
        for block in network.blocks:
            x = block(x, e=e0, freqs=freqs, context=context, context_img_len=0)
        return network.unpatchify(network.head(x, e), grid_sizes)

    x, text, times = torch.randn(2, 16, 3, 4, 6), torch.randn(2, 5, 24), torch.tensor([900.0, 30.0])
    plain = network(x, times, text)
    network.forward_orig = forward_orig
    torch.testing.assert_close(network(x, times, text), plain)
