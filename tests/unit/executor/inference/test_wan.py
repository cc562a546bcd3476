"""Files of Wan: recognised, built at their sizes, changed by LoRAs, sampled as conditionings tell."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from executor import context
from executor.errors import Interrupted, ModelFileError, NodeInputError
from executor.inference.casting import cast_leaves
from executor.inference.checkpoint import load_checkpoint, load_diffusion_model
from executor.inference.context_windows import HANDLER, ContextWindows
from executor.inference.extras import Situation
from executor.inference.handle import ModelHandle
from executor.inference.latent_masks import noise_mask_like
from executor.inference.lora import apply_lora
from executor.inference.memory import Memory
from executor.inference.preview import LatentPreview
from executor.inference.sample import sample
from executor.inference.streaming import Stream
from executor.inference.video_latent_formats import WAN21, WAN22
from executor.inference.video_vae import VideoVae
from executor.inference.weights import WeightFile
from tests.tiny_umt5 import umt5_tensors
from tests.tiny_wan import CONFIG, LED, TINY_WAN, VACE, random_wan, wan_tensors, write_wan
from tests.tiny_wan_vae import vae_tensors
from tests.unit.executor.inference.test_streaming import Porter

CPU = Memory(mode="cpu")
SIZE = (1, 16, 3, 6, 4)
TI2V = {"in_channels": 48, "out_channels": 48}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return write_wan(tmp_path_factory.mktemp("wan") / "wan.safetensors")


@pytest.fixture
def model(path) -> ModelHandle:
    return load_diffusion_model(path, CPU)


def made(folder: Path, **changes: object) -> ModelHandle:
    return load_diffusion_model(write_wan(folder / "other.safetensors", **changes), CPU)


def conditioning(tokens: int = 5, **options: object) -> list[list[object]]:
    text = torch.randn(1, tokens, TINY_WAN.context, generator=torch.Generator().manual_seed(tokens))
    return [[text, {"pooled_output": None, **options}]]


def sampled(model, positive=None, negative=None, cfg=1.0, samples=None, **latent: object) -> Tensor:
    given = {"samples": torch.zeros(SIZE) if samples is None else samples, **latent}
    settings = {"seed": 1, "steps": 2, "cfg": cfg, "sampler_name": "euler", "scheduler": "simple"}
    sides = {"positive": positive or conditioning(), "negative": negative or conditioning()}
    return sample(model, given, **settings, **sides)


def given(model: ModelHandle, options: dict[str, object], **situation: object) -> dict[str, object]:
    here = Situation(**{"shape": torch.Size(SIZE), **situation})
    found: dict[str, object] = {}
    for extra in model.model.extras:
        found |= extra(options, here)
    return found


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_a_network_is_known_under_any_prefix(tmp_path, prefix):
    tensors = wan_tensors(prefix)
    save_file(tensors, tmp_path / "wan.safetensors", metadata=CONFIG)
    model = load_diffusion_model(tmp_path / "wan.safetensors", CPU)
    assert (model.family, model.latent_format) == ("wan", WAN21)
    assert set(model.model.part.keys) == set(tensors)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 72, "inner": 100, "blocks": 2, "context": 16, "waves": 64},
        LED,
        {**LED, "picture_places": 10},
        {"in_channels": 48},
        {"in_channels": 52, "reference": 16},
        TI2V,
        VACE,
    ],
    ids=["sizes", "picture", "two pictures", "control", "control and picture", "48 channels", "vace"],
)
def test_sizes_are_those_of_the_tensors(tmp_path, changes):
    shape = made(tmp_path, **changes).model.part.module.shape
    assert {name: getattr(shape, name) for name in changes} == changes


def test_heads_are_128_wide_where_the_file_says_nothing(tmp_path):
    save_file(wan_tensors(width=256, heads=2, blocks=1), tmp_path / "wan.safetensors")
    model = load_diffusion_model(tmp_path / "wan.safetensors", CPU)
    assert model.model.part.module.shape.heads == 2


def test_latents_are_those_of_the_networks_channels(tmp_path):
    assert made(tmp_path, **TI2V).latent_format is WAN22


def test_noise_levels_are_shifted_by_eight_and_times_go_to_a_thousand(model):
    half = model.model_sampling.sigma(torch.tensor([500.0]))
    assert half.item() == pytest.approx(8 * 0.5 / (1 + 7 * 0.5), abs=1e-6)
    assert model.model_sampling.timestep(torch.tensor([0.25])).item() == 250.0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"in_channels": 32}, "32 input and 16 output channels"),
        ({"in_channels": 8, "out_channels": 8}, "8 input and 8 output channels"),
        ({"width": 50}, "2 attention heads do not divide its width 50"),
    ],
)
def test_sizes_that_mean_nothing_known_are_refused(tmp_path, change, told):
    tensors = wan_tensors(**{name: each for name, each in change.items() if name != "width"})
    if "width" in change:
        tensors["patch_embedding.weight"] = torch.zeros(50, 16, 1, 2, 2)
    save_file(tensors, tmp_path / "wan.safetensors", metadata=CONFIG)
    with pytest.raises(ModelFileError, match=told):
        load_diffusion_model(tmp_path / "wan.safetensors", CPU)


def test_networks_with_more_than_is_run_are_told(tmp_path):
    save_file({**wan_tensors(), "face_adapter.fuser_blocks.0.x": torch.zeros(1)}, tmp_path / "wan.safetensors")
    with pytest.raises(ModelFileError, match="is a Wan Animate model, which this version does not run"):
        load_diffusion_model(tmp_path / "wan.safetensors", CPU)


def test_a_missing_tensor_is_named(tmp_path):
    tensors = wan_tensors()
    del tensors["blocks.1.ffn.2.bias"]
    save_file(tensors, tmp_path / "wan.safetensors", metadata=CONFIG)
    with pytest.raises(ModelFileError, match=r"lacks 1 tensors, such as blocks\.1\.ffn\.2\.bias"):
        load_diffusion_model(tmp_path / "wan.safetensors", CPU)


def test_a_checkpoint_brings_its_vae_and_its_text_encoder(tmp_path):
    texts = umt5_tensors("text_encoders.umt5xxl.transformer.")
    tensors = wan_tensors("model.diffusion_model.") | vae_tensors("vae.") | texts
    save_file(tensors, tmp_path / "wan.safetensors", metadata=CONFIG)
    found = load_checkpoint(tmp_path / "wan.safetensors", CPU)
    assert isinstance(found.vae, VideoVae)
    assert found.model.family == "wan"
    assert found.clip.encode("a cat")[0][0].shape == (1, 512, 24)


@pytest.mark.parametrize("stored", ["file", "loader"])
def test_weights_of_8_bits_compute_what_rounded_ones_do(tmp_path, stored):
    eight = torch.float8_e4m3fn
    tensors = wan_tensors()
    rounded = {name: tensor.to(eight) for name, tensor in tensors.items()}
    save_file(rounded if stored == "file" else tensors, tmp_path / "eight.safetensors", metadata=CONFIG)
    plain = {name: tensor.float() for name, tensor in rounded.items()}
    save_file(plain, tmp_path / "plain.safetensors", metadata=CONFIG)
    kind = "default" if stored == "file" else "fp8_e4m3fn"
    model = load_diffusion_model(tmp_path / "eight.safetensors", CPU, weight_dtype=kind)
    assert model.model.part.file_dtype == eight
    whole = load_diffusion_model(tmp_path / "plain.safetensors", CPU)
    torch.testing.assert_close(sampled(model), sampled(whole), rtol=1e-4, atol=1e-5)


def test_weights_of_8_bits_with_scales_are_multiplied(tmp_path, model):
    tensors = wan_tensors()
    for name in [each for each in tensors if each.endswith((".q.weight", "ffn.0.weight", "text_embedding.0.weight"))]:
        scale = tensors[name].abs().max() / 448
        tensors[name] = (tensors[name] / scale).to(torch.float8_e4m3fn)
        tensors[f"{name.removesuffix('weight')}scale_weight"] = scale
    tensors["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    save_file(tensors, tmp_path / "scaled.safetensors", metadata=CONFIG)
    scaled, plain = sampled(load_diffusion_model(tmp_path / "scaled.safetensors", CPU)), sampled(model)
    assert float((scaled - plain).norm() / plain.norm()) < 0.05


# ---------------------------------------------------------------- latents of five dimensions


@pytest.mark.parametrize("size", [(1, 16, 3, 7, 5), (2, 16, 1, 6, 4), (1, 16, 2, 1, 1)])
def test_latents_of_odd_sizes_and_batches_are_sampled(model, size):
    assert sampled(model, samples=torch.zeros(size)).shape == size


def test_videos_of_a_batch_are_drawn_each_for_itself(model):
    noise = {"batch_index": [0, 1]}
    both = sampled(model, samples=torch.zeros(2, *SIZE[1:]), **noise)
    second = sampled(model, samples=torch.zeros(SIZE), batch_index=[1])
    torch.testing.assert_close(both[1:], second, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [4, 16])
def test_latents_of_empty_pictures_are_videos_of_one_frame(model, channels):
    assert sampled(model, samples=torch.zeros(2, channels, 6, 4)).shape == (2, 16, 1, 6, 4)


@pytest.mark.parametrize("name", ["dpmpp_2m", "uni_pc", "euler_ancestral", "dpmpp_sde", "res_multistep", "lcm"])
def test_samplers_take_videos(model, name):
    settings = {"seed": 1, "steps": 3, "cfg": 3.0, "sampler_name": name, "scheduler": "beta"}
    text = conditioning()
    found = sample(model, {"samples": torch.zeros(SIZE)}, positive=text, negative=conditioning(3), **settings)
    assert found.shape == SIZE
    assert found.isfinite().all()


MASKS = {
    "of all frames": torch.zeros(1, 6, 4),
    "in pixels": torch.zeros(1, 1, 48, 32),
    "a frame each": torch.zeros(3, 1, 6, 4),
    "of a video": torch.zeros(1, 1, 3, 6, 4),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_what_a_mask_keeps_stays(model, mask):
    samples, mask = torch.randn(SIZE), mask.clone()
    mask[..., : mask.shape[-2] // 3, :] = 1.0
    found = sampled(model, samples=samples, noise_mask=mask)
    torch.testing.assert_close(found[..., 2:, :], samples[..., 2:, :], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[..., :2, :], samples[..., :2, :], atol=1e-2)


def test_masks_of_frames_are_stretched_over_the_videos():
    frames = torch.tensor([0.0, 1.0]).reshape(2, 1, 1)
    found = noise_mask_like(frames.expand(2, 6, 4), torch.Size((2, 16, 4, 6, 4)))
    assert found.shape == (2, 1, 4, 6, 4)
    assert found[1, 0, :, 0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_areas_and_masks_of_conditionings_hold_in_each_frame(model):
    mask = torch.zeros(1, 6, 4)
    mask[:, :3] = 1.0
    masked = [*conditioning(5, mask=mask), *conditioning(6, mask=1.0 - mask)]
    found = sampled(model, masked, conditioning(3), cfg=3.0, samples=torch.zeros(2, *SIZE[1:]))
    assert found.shape == (2, *SIZE[1:])
    areas = [*conditioning(5), *conditioning(6, area=(4, 2, 0, 2), strength=2.0)]
    assert sampled(model, areas, conditioning(3), cfg=3.0).shape == SIZE


def test_a_conditionings_mask_is_where_it_counts(model):
    mask = torch.zeros(1, 6, 4)
    mask[:, :3] = 1.0
    first, second = conditioning(5), conditioning(6)
    parts = [*conditioning(5, mask=mask), *conditioning(6, mask=1.0 - mask)]
    settings = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "negative": first}
    empty = {"samples": torch.zeros(SIZE)}
    upper, lower, both = (sample(model, empty, positive=each, **settings) for each in (first, second, parts))
    torch.testing.assert_close(both[..., :3, :], upper[..., :3, :], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(both[..., 3:, :], lower[..., 3:, :], rtol=1e-4, atol=1e-4)


def test_each_video_of_a_batch_may_have_a_mask_of_its_own(model):
    masks = torch.zeros(2, 6, 4)
    masks[0, :3], masks[1, 3:] = 1.0, 1.0
    parts = [*conditioning(5, mask=masks), *conditioning(6, mask=1.0 - masks)]
    settings = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
    empty = {"samples": torch.zeros(2, *SIZE[1:])}
    first, second, both = (
        sample(model, empty, positive=each, negative=conditioning(5), **settings)
        for each in (conditioning(5), conditioning(6), parts)
    )
    torch.testing.assert_close(both[0, ..., :3, :], first[0, ..., :3, :], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(both[1, ..., :3, :], second[1, ..., :3, :], rtol=1e-4, atol=1e-4)


def test_default_conditionings_fill_what_others_leave(model):
    mask = torch.zeros(1, 6, 4)
    mask[:, :3] = 1.0
    parts = [*conditioning(5, mask=mask), *conditioning(6, mask=1.0 - mask)]
    rest = [*conditioning(5, mask=mask), *conditioning(6, default=True)]
    torch.testing.assert_close(sampled(model, rest), sampled(model, parts), rtol=1e-4, atol=1e-4)


def test_a_preview_shows_the_first_frame():
    latents = torch.randn(2, 16, 3, 6, 4)
    picture = LatentPreview(latent=latents, latent_format=WAN21).image()
    assert picture.size == (4, 6)
    same = LatentPreview(latent=latents[:, :, 0], latent_format=WAN21).image()
    assert picture.tobytes() == same.tobytes()


def test_windows_along_the_frames_are_fused(model):
    cut = model.clone()
    cut.model_options[HANDLER] = ContextWindows(length=2, overlap=1, dim=2)
    seen: list[int] = []
    own = cut.model.apply_model

    def spied(x, t, **more):
        seen.append(x.shape[2])
        return own(x, t, **more)

    cut.set_model_unet_function_wrapper(lambda network, given: spied(given["input"], given["timestep"], **given["c"]))
    assert sampled(cut).shape == SIZE
    assert set(seen) == {2}


def test_working_memory_grows_with_the_frames(model):
    one, three = (model.model.working_bytes(torch.Size((1, 16, frames, 6, 4))) for frames in (1, 3))
    assert three == 3 * one


# ---------------------------------------------------------------- what stands beside


def test_a_picture_that_leads_is_seen_as_it_is_and_by_its_latents(tmp_path):
    model = made(tmp_path, **LED)
    latents, mask = torch.randn(SIZE), torch.ones(1, 1, 3, 6, 4)
    mask[:, :, 0] = 0.0
    seen = SimpleNamespace(penultimate_hidden_states=torch.randn(1, 7, 20))
    options = {"concat_latent_image": latents, "concat_mask": mask, "clip_vision_output": seen}
    found = given(model, options)
    assert torch.equal(found["clip_fea"], seen.penultimate_hidden_states)
    assert found["c_concat"].shape == (1, 20, 3, 6, 4)
    assert torch.equal(found["c_concat"][:, :4, 0], torch.ones(1, 4, 6, 4))
    assert not found["c_concat"][:, :4, 1:].any()
    torch.testing.assert_close(found["c_concat"][:, 4:], WAN21.process_in(latents))
    led, plain = sampled(model, conditioning(**options)), sampled(model)
    assert led.shape == SIZE
    assert not torch.allclose(led, plain, atol=1e-3)


def test_masks_of_pictures_are_four_channels(tmp_path):
    mask = torch.ones(1, 4, 3, 6, 4)
    mask[:, :3, 2] = 0.0
    found = given(made(tmp_path, **LED), {"concat_latent_image": torch.zeros(SIZE), "concat_mask": mask})
    torch.testing.assert_close(found["c_concat"][:, :4], 1.0 - mask)


def test_what_is_not_given_is_zeros_and_not_marked_as_given(tmp_path):
    found = given(made(tmp_path, **LED), {})
    assert found.keys() == {"c_concat"}
    assert not found["c_concat"].any()


def test_pictures_of_fewer_frames_or_another_size_are_fitted(tmp_path):
    given_here = {"concat_latent_image": torch.randn(1, 16, 1, 3, 2), "concat_mask": torch.zeros(1, 1, 1, 3, 2)}
    found = given(made(tmp_path, **LED), given_here)["c_concat"]
    assert found.shape == (1, 20, 3, 6, 4)
    assert found[:, :4, 0].min() == 1.0
    assert not found[:, :, 1:].any()


def test_a_vision_model_of_another_width_is_refused(tmp_path):
    seen = SimpleNamespace(penultimate_hidden_states=torch.randn(1, 7, 9))
    with pytest.raises(NodeInputError, match="pictures of width 20, and this vision model gives 9"):
        given(made(tmp_path, **LED), {"clip_vision_output": seen})


def test_a_control_stands_before_the_picture(tmp_path):
    latents = torch.randn(1, 32, 3, 6, 4)
    found = given(made(tmp_path, in_channels=48), {"concat_latent_image": latents})["c_concat"]
    torch.testing.assert_close(found[:, :16], WAN21.process_in(latents[:, :16]))
    torch.testing.assert_close(found[:, 16:], WAN21.process_in(latents[:, 16:]))


def test_the_mask_stands_between_control_and_picture(tmp_path):
    latents, mask = torch.randn(1, 32, 3, 6, 4), torch.zeros(1, 1, 3, 6, 4)
    model = made(tmp_path, in_channels=52, reference=16)
    options = {"concat_latent_image": latents, "concat_mask": mask, "reference_latents": [torch.randn(1, 16, 1, 6, 4)]}
    found = given(model, options)
    assert found["c_concat"][:, 16:20].min() == 1.0
    torch.testing.assert_close(found["c_concat"][:, 20:], WAN21.process_in(latents[:, 16:]))
    assert found["reference_latent"].shape == (1, 16, 6, 4)
    assert sampled(model, conditioning(**options)).shape == SIZE


def test_what_a_video_keeps_to_counts_as_strongly_as_told(tmp_path):
    model = made(tmp_path, **VACE)
    video, mask = torch.randn(1, 32, 3, 6, 4), torch.ones(1, 64, 3, 6, 4)
    kept_to = {"vace_frames": [video], "vace_mask": [mask], "vace_strength": [0.5]}
    found = given(model, kept_to)
    [control] = found["vace_context"]
    assert control.shape == (1, 96, 3, 6, 4)
    torch.testing.assert_close(control[:, 16:32], WAN21.process_in(video[:, 16:]))
    assert found["vace_strength"].tolist() == [[0.5]]
    none = sampled(model, conditioning(**{**kept_to, "vace_strength": [0.0]}))
    torch.testing.assert_close(none, sampled(model), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(sampled(model, conditioning(**kept_to)), none, atol=1e-3)


def test_windows_see_their_part_of_what_a_video_keeps_to(tmp_path):
    model = made(tmp_path, **VACE).clone()
    model.model_options[HANDLER] = ContextWindows(length=2, overlap=1, dim=2)
    kept_to = {"vace_frames": [torch.randn(1, 32, 3, 6, 4)], "vace_mask": [torch.ones(1, 64, 3, 6, 4)]}
    [whole] = given(model, kept_to)["vace_context"]
    seen: list[Tensor] = []

    def spied(network, called):
        seen.extend(called["c"]["vace_context"])
        return network(called["input"], called["timestep"], **called["c"])

    model.set_model_unet_function_wrapper(spied)
    assert sampled(model, conditioning(**kept_to)).shape == SIZE
    torch.testing.assert_close(seen[0], whole[:, :, :2])
    torch.testing.assert_close(seen[1], whole[:, :, 1:])


def test_latents_behind_the_video_are_seen(model):
    behind = torch.randn(1, 16, 1, 6, 4)
    torch.testing.assert_close(given(model, {"time_dim_concat": behind})["time_dim_concat"], WAN21.process_in(behind))
    assert not torch.allclose(sampled(model, conditioning(time_dim_concat=behind)), sampled(model), atol=1e-3)


def test_frames_that_stay_are_seen_without_noise(tmp_path):
    model = made(tmp_path, **TI2V)
    shape = (1, 48, 3, 6, 4)
    samples, mask = torch.randn(shape), torch.ones(1, 1, 3, 6, 4)
    mask[:, :, 0] = 0.0
    found = given(model, {}, shape=torch.Size(shape), latent=samples, mask=mask)
    assert found["drawn"].shape == (1, 1, 3, 1, 1)
    assert found["drawn"].flatten().tolist() == [0.0, 1.0, 1.0]
    mask[..., 0] = 0.0
    assert given(model, {}, shape=torch.Size(shape), latent=samples, mask=mask)["drawn"].shape == (1, 1, 3, 6, 4)
    drawn = sampled(model, samples=samples, noise_mask=mask)
    torch.testing.assert_close(drawn[:, :, 0], samples[:, :, 0], rtol=1e-4, atol=1e-4)


def test_kept_frames_lead_what_is_drawn(tmp_path):
    model = made(tmp_path, **TI2V)
    mask = torch.ones(1, 1, 3, 1, 1)
    mask[:, :, 0] = 0.0
    first, second = (torch.randn(1, 48, 3, 6, 4) for _ in range(2))
    first[:, :, 1:] = second[:, :, 1:] = 0.0
    one, other = (sampled(model, samples=each, noise_mask=mask) for each in (first, second))
    assert not torch.allclose(one[:, :, 1:], other[:, :, 1:], atol=1e-3)


# ---------------------------------------------------------------- two networks, one after the other


def test_a_second_network_goes_on_where_the_first_ends(model, tmp_path):
    """Wan 2.2's two networks, for high noise and for low."""
    low = made(tmp_path, seed=9)
    settings = {"seed": 4, "steps": 4, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"}
    sides = {"positive": conditioning(), "negative": conditioning(3)}
    empty = {"samples": torch.zeros(SIZE)}
    high = sample(model, empty, **settings, **sides, start_step=0, last_step=2)
    both = sample(low, {"samples": high}, **settings, **sides, start_step=2, last_step=10000, disable_noise=True)
    same = sample(model, {"samples": high}, **settings, **sides, start_step=2, last_step=10000, disable_noise=True)
    torch.testing.assert_close(same, sample(model, empty, **settings, **sides), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(both, same, atol=1e-3)


# ---------------------------------------------------------------- LoRAs

KOHYA, PEFT = (".lora_up.weight", ".lora_down.weight"), (".lora_B.weight", ".lora_A.weight")
LORAS = {
    "kohya": ("lora_unet_blocks_0_self_attn_q", KOHYA, "blocks.0.self_attn.q.weight"),
    "original": ("diffusion_model.blocks.0.self_attn.q", PEFT, "blocks.0.self_attn.q.weight"),
    "diffusers": ("transformer.blocks.1.attn2.to_k", PEFT, "blocks.1.cross_attn.k.weight"),
    "diffusers' layer": ("transformer.blocks.1.ffn.net.0.proj", PEFT, "blocks.1.ffn.0.weight"),
    "diffusers' output": ("transformer.blocks.1.attn1.to_out.0", PEFT, "blocks.1.self_attn.o.weight"),
    "top": ("diffusion_model.text_embedding.0", KOHYA, "text_embedding.0.weight"),
}


@pytest.mark.parametrize(("name", "ends", "key"), LORAS.values(), ids=LORAS)
def test_a_lora_changes_the_layer_that_it_means(model, name, ends, key):
    pristine = model.model.part.weights[key]
    up, down = torch.randn(pristine.shape[0], 2), torch.randn(2, pristine.shape[1])
    file = WeightFile(path=Path("style.safetensors"), tensors={name + ends[0]: up, name + ends[1]: down})
    changed, _ = apply_lora(file, model, None, 0.5, 1.0)
    torch.testing.assert_close(changed.patched_weights()[key], pristine + 0.5 * up @ down)
    assert list(changed.patches) == [f"diffusion_model.{key}"]


def test_a_lora_of_the_first_layer_changes_its_cells(model):
    key, name = "patch_embedding.weight", "diffusion_model.patch_embedding"
    up, down = torch.randn(48, 2, 1, 1, 1), torch.randn(2, 16, 1, 2, 2)
    tensors = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down, f"{name}.alpha": torch.tensor(1.0)}
    changed, _ = apply_lora(WeightFile(path=Path("x.safetensors"), tensors=tensors), model, None, 1.0, 1.0)
    more = (up.flatten(1) @ down.flatten(1)).reshape(48, 16, 1, 2, 2) / 2
    torch.testing.assert_close(changed.patched_weights()[key], model.model.part.weights[key] + more)


def test_differences_of_weights_and_biases_are_added(model):
    weight, bias = torch.randn(48), torch.randn(48)
    tensors = {
        "diffusion_model.blocks.0.self_attn.norm_q.diff": weight,
        "diffusion_model.blocks.0.self_attn.q.diff_b": bias,
    }
    changed, _ = apply_lora(WeightFile(path=Path("x.safetensors"), tensors=tensors), model, None, 1.0, 1.0)
    found, pristine = changed.patched_weights(), model.model.part.weights
    for name, more in (("norm_q.weight", weight), ("q.bias", bias)):
        key = f"blocks.0.self_attn.{name}"
        torch.testing.assert_close(found[key], pristine[key] + more)


# ---------------------------------------------------------------- how it runs


class Copier(Porter):
    """Copies weights, and counts how often a layer waits for them."""

    waits = 0

    def send(self, weights, beside=None):
        return {name: weight.clone() for name, weight in weights.items()}

    def wait(self, weights):
        self.waits += 1


def test_weights_that_stay_in_the_file_travel_layer_by_layer():
    module = random_wan()
    x, text = torch.randn(SIZE), torch.randn(1, 5, TINY_WAN.context)
    plain = module(x, torch.tensor([500.0]), text)
    cast_leaves(module)
    stream = Stream(module, porter := Copier())
    with torch.inference_mode():
        for _ in range(2):
            torch.testing.assert_close(module(x, torch.tensor([500.0]), text), plain)
    stream.close()
    leaves = [each for each in module.modules() if not [*each.children()] and [*each.parameters(recurse=False)]]
    assert porter.waits == 2 * len(leaves)


def test_the_user_can_stop_it_between_blocks(model, monkeypatch):
    ran: list[int] = []
    for block in model.model.part.module.blocks:
        block.register_forward_hook(lambda *_: ran.append(1))

    def stop(self):
        if ran:
            raise Interrupted

    monkeypatch.setattr(type(context.current()), "check_interrupt", stop)
    with pytest.raises(Interrupted):
        sampled(model)
    assert len(ran) == 1


def test_every_layer_of_diffusers_has_a_place(tmp_path):
    from diffusers import WanTransformer3DModel

    sizes = {"num_layers": 3, "attention_head_dim": 24, "num_attention_heads": 2, "ffn_dim": 80, "freq_dim": 32}
    module = WanTransformer3DModel(image_dim=20, added_kv_proj_dim=48, text_dim=24, **sizes)
    layers = {name for name, each in module.named_modules() if isinstance(each, nn.Linear)}
    assert layers <= set(made(tmp_path, **LED).model.part.module.other_names())
