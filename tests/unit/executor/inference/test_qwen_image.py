"""Files of Qwen-Image: recognised, built at their sizes, changed by LoRAs and packs, sampled as conditionings tell."""

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
from executor.inference.handle import ModelHandle
from executor.inference.lora import apply_lora, read_layers
from executor.inference.memory import Memory
from executor.inference.network_config import ModelType
from executor.inference.qwen_image import AT_ZERO
from executor.inference.recordings import Recordings
from executor.inference.sample import sample
from executor.inference.streaming import Stream
from executor.inference.video_latent_formats import WAN21
from executor.inference.video_vae import VideoVae
from executor.inference.weights import WeightFile
from tests.tiny_qwen import qwen_tensors
from tests.tiny_qwen_image import TINY_QWEN_IMAGE, WRAPPED, qwen_image_tensors, random_qwen_image, write_qwen_image
from tests.tiny_wan_vae import vae_tensors
from tests.unit.executor.inference.test_recordings import Tape
from tests.unit.executor.inference.test_wan import Copier

CPU = Memory(mode="cpu")
WIDTH = TINY_QWEN_IMAGE.width
SIZE = (1, 16, 1, 6, 4)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return write_qwen_image(tmp_path_factory.mktemp("qwen") / "qwen_image.safetensors")


@pytest.fixture
def model(path) -> ModelHandle:
    return load_diffusion_model(path, CPU)


def conditioning(tokens: int = 5, **options: object) -> list[list[object]]:
    text = torch.randn(1, tokens, TINY_QWEN_IMAGE.context, generator=torch.Generator().manual_seed(tokens))
    return [[text, {"pooled_output": None, **options}]]


def sampled(model, positive=None, negative=None, cfg=1.0, samples=None, **latent: object) -> Tensor:
    given = {"samples": torch.zeros(SIZE) if samples is None else samples, **latent}
    settings = {"seed": 1, "steps": 2, "cfg": cfg, "sampler_name": "euler", "scheduler": "simple"}
    sides = {"positive": positive or conditioning(), "negative": negative or conditioning()}
    return sample(model, given, **settings, **sides)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_a_network_is_known_under_any_prefix(tmp_path, prefix):
    tensors = qwen_image_tensors(prefix)
    save_file(tensors, tmp_path / "qwen.safetensors")
    model = load_diffusion_model(tmp_path / "qwen.safetensors", CPU)
    assert (model.family, model.latent_format) == ("qwen_image", WAN21)
    assert set(model.model.part.keys) == set(tensors)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 96, "heads": 3, "inner": 288, "blocks": 1},
        {"context": 16, "waves": 64},
        {"width": 256, "heads": 2, "inner": 512, "blocks": 4},
    ],
)
def test_sizes_are_those_of_the_tensors(tmp_path, changes):
    model = load_diffusion_model(write_qwen_image(tmp_path / "qwen.safetensors", **changes), CPU)
    shape = model.model.part.module.shape
    assert {name: getattr(shape, name) for name in changes} == changes


@pytest.mark.parametrize("mark", [torch.zeros(0), torch.tensor(1)], ids=["none", "one number"])
def test_files_say_whether_further_pictures_have_time_0(tmp_path, mark):
    save_file(qwen_image_tensors() | {AT_ZERO: mark}, tmp_path / "edit.safetensors")
    marked = load_diffusion_model(tmp_path / "edit.safetensors", CPU)
    save_file(qwen_image_tensors(), tmp_path / "plain.safetensors")
    plain = load_diffusion_model(tmp_path / "plain.safetensors", CPU)
    seeing = conditioning(reference_latents=[torch.ones(1, 16, 1, 3, 5)])
    assert not torch.allclose(sampled(marked, seeing), sampled(plain, seeing), atol=1e-3)
    torch.testing.assert_close(sampled(marked), sampled(plain))
    assert AT_ZERO in marked.patched_weights()


def test_noise_levels_are_times_and_shifted_a_little(model):
    half = torch.tensor([0.5])
    assert model.model.model_type is ModelType.FLOW
    assert model.model_sampling.sigma(half).item() == pytest.approx(1.15 * 0.5 / (1 + 0.15 * 0.5), abs=1e-6)
    assert model.model_sampling.timestep(half).item() == 0.5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"in_features": 80}, "80 input features and 64 output features; networks of 64 features"),
        ({"out_features": 32}, "64 input features and 32 output features"),
    ],
)
def test_sizes_that_mean_nothing_known_are_refused(tmp_path, change, told):
    with pytest.raises(ModelFileError, match=told):
        load_diffusion_model(write_qwen_image(tmp_path / "qwen.safetensors", **change), CPU)


def test_heads_that_do_not_divide_its_width_are_refused(tmp_path):
    tensors = qwen_image_tensors()
    tensors["transformer_blocks.0.attn.norm_q.weight"] = torch.ones(9)
    save_file(tensors, tmp_path / "qwen.safetensors")
    with pytest.raises(ModelFileError, match="7 attention heads do not divide its width 64"):
        load_diffusion_model(tmp_path / "qwen.safetensors", CPU)


def test_a_missing_tensor_is_named(tmp_path):
    tensors = qwen_image_tensors()
    del tensors["transformer_blocks.1.txt_mlp.net.2.bias"]
    save_file(tensors, tmp_path / "qwen.safetensors")
    with pytest.raises(ModelFileError, match=r"lacks 1 tensors, such as transformer_blocks\.1\.txt_mlp\.net\.2\.bias"):
        load_diffusion_model(tmp_path / "qwen.safetensors", CPU)


def test_a_model_of_layered_pictures_is_told(tmp_path):
    more = {"time_text_embed.addition_t_embedding.weight": torch.zeros(2, WIDTH)}
    save_file(qwen_image_tensors() | more, tmp_path / "layered.safetensors")
    with pytest.raises(ModelFileError, match="is a Qwen-Image-Layered model, which this version does not run"):
        load_diffusion_model(tmp_path / "layered.safetensors", CPU)


def test_a_checkpoint_brings_its_vae_and_its_text_encoder(tmp_path):
    texts = {f"text_encoders.qwen25_7b.transformer.{name}": each for name, each in qwen_tensors(sees=False).items()}
    save_file(qwen_image_tensors(WRAPPED) | vae_tensors("vae.") | texts, tmp_path / "qwen.safetensors")
    found = load_checkpoint(tmp_path / "qwen.safetensors", CPU)
    assert isinstance(found.vae, VideoVae)
    assert found.model.family == "qwen_image"
    assert found.clip.encode("a cat")[0][0].shape == (1, 7, 128)


@pytest.mark.parametrize("stored", ["file", "loader"])
def test_weights_of_8_bits_compute_what_rounded_ones_do(tmp_path, stored):
    eight = torch.float8_e4m3fn
    tensors = qwen_image_tensors()
    rounded = {name: tensor.to(eight) for name, tensor in tensors.items()}
    save_file(rounded if stored == "file" else tensors, tmp_path / "eight.safetensors")
    save_file({name: tensor.float() for name, tensor in rounded.items()}, tmp_path / "plain.safetensors")
    kind = "default" if stored == "file" else "fp8_e4m3fn"
    model = load_diffusion_model(tmp_path / "eight.safetensors", CPU, weight_dtype=kind)
    assert model.model.part.file_dtype == eight
    plain = load_diffusion_model(tmp_path / "plain.safetensors", CPU)
    torch.testing.assert_close(sampled(model), sampled(plain), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- conditioning


def given(model: ModelHandle, options: dict[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for extra in model.model.extras:
        found |= extra(options, Situation(shape=torch.Size(SIZE)))
    return found


def test_pictures_to_change_are_brought_to_the_networks_scale(model):
    pictures = [torch.ones(1, 16, 2, 2), torch.ones(1, 16, 1, 5, 3)]
    found = given(model, {"reference_latents": pictures, "reference_latents_method": "offset"})
    assert list(found) == ["ref_latents"]
    assert [each.shape for each in found["ref_latents"]] == [(1, 16, 1, 2, 2), (1, 16, 1, 5, 3)]
    torch.testing.assert_close(found["ref_latents"][1], WAN21.process_in(pictures[1]))
    assert given(model, {}) == given(model, {"reference_latents": []}) == {}


def test_pictures_to_change_are_seen_in_turn(model):
    first, second = torch.ones(1, 16, 1, 3, 5), torch.full((1, 16, 1, 2, 2), -1.0)
    plain, one, two, turned = (
        sampled(model, conditioning(**({"reference_latents": each} if each else {})))
        for each in ([], [first], [first, second], [second, first])
    )
    assert plain.shape == two.shape == SIZE
    for other in (one, two, turned):
        assert not torch.allclose(plain, other, atol=1e-3)
    assert not torch.allclose(two, turned, atol=1e-4)


def test_a_side_without_pictures_is_called_apart(model):
    pictures = {"reference_latents": [torch.ones(1, 16, 1, 3, 5)]}
    found = sampled(model, conditioning(**pictures), conditioning(3), cfg=3.0, samples=torch.zeros(2, *SIZE[1:]))
    assert found.shape == (2, *SIZE[1:])
    assert found.isfinite().all()


def test_text_of_another_width_is_refused(model):
    with pytest.raises(NodeInputError, match="takes text of width 32, and this conditioning has 9"):
        sampled(model, [[torch.zeros(1, 5, 9), {}]])


@pytest.mark.parametrize("channels", [4, 16])
def test_latents_of_empty_pictures_are_of_one_frame(model, channels):
    assert sampled(model, samples=torch.zeros(2, channels, 7, 5)).shape == (2, 16, 1, 7, 5)


def test_what_a_mask_keeps_stays(model):
    samples, mask = torch.randn(SIZE), torch.zeros(1, 6, 4)
    mask[:, :2] = 1.0
    found = sampled(model, samples=samples, noise_mask=mask)
    torch.testing.assert_close(found[..., 2:, :], samples[..., 2:, :], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[..., :2, :], samples[..., :2, :], atol=1e-2)


# ---------------------------------------------------------------- LoRAs

KOHYA, PEFT = (".lora_up.weight", ".lora_down.weight"), (".lora_B.weight", ".lora_A.weight")
BLOCK = "transformer_blocks.1"
LORAS = {
    "diffusers": (f"transformer.{BLOCK}.attn.to_q", PEFT, f"{BLOCK}.attn.to_q.weight"),
    "bare": (f"{BLOCK}.attn.add_k_proj", PEFT, f"{BLOCK}.attn.add_k_proj.weight"),
    "wrapped": (f"diffusion_model.{BLOCK}.img_mod.1", PEFT, f"{BLOCK}.img_mod.1.weight"),
    "kohya": (
        "lora_unet_transformer_blocks_1_img_mlp_net_0_proj",
        KOHYA,
        f"{BLOCK}.img_mlp.net.0.proj.weight",
    ),
    "Lightning": (f"{BLOCK}.attn.to_add_out", KOHYA, f"{BLOCK}.attn.to_add_out.weight"),
    "output": (f"{BLOCK}.attn.to_out.0", KOHYA, f"{BLOCK}.attn.to_out.0.weight"),
    "DiffSynth": (
        f"{BLOCK}.txt_mlp.net.2",
        (".lora_B.default.weight", ".lora_A.default.weight"),
        f"{BLOCK}.txt_mlp.net.2.weight",
    ),
    "top": ("transformer.proj_out", PEFT, "proj_out.weight"),
}


@pytest.mark.parametrize(("name", "ends", "key"), LORAS.values(), ids=LORAS)
def test_a_lora_changes_the_layer_that_it_names(model, name, ends, key):
    pristine = model.model.part.weights[key]
    up, down = torch.randn(pristine.shape[0], 4), torch.randn(4, pristine.shape[1])
    tensors = {name + ends[0]: up, name + ends[1]: down, f"{name}.alpha": torch.tensor(2.0)}
    changed, _ = apply_lora(WeightFile(path=Path("style.safetensors"), tensors=tensors), model, None, 0.5, 1.0)
    torch.testing.assert_close(changed.patched_weights()[key], pristine + 0.5 * 2.0 / 4 * up @ down)
    assert list(changed.patches) == [f"diffusion_model.{key}"]


def test_a_whole_network_is_no_lora():
    file = WeightFile(path=Path("qwen.safetensors"), tensors=qwen_image_tensors())
    with pytest.raises(ModelFileError, match="looks like a Qwen-Image model"):
        read_layers(file)


# ---------------------------------------------------------------- packs


def test_a_pack_may_stand_in_for_blocks(model):
    seen: list[int] = []

    def block(number: int):
        def run(arguments, extra):
            seen.append(number)
            found = extra["original_block"](arguments)
            assert set(found) == {"img", "txt"}
            return found

        return run

    changed = model.clone()
    for number in range(3):
        changed.set_model_patch_replace(block(number), "dit", "double_block", number)
    torch.testing.assert_close(sampled(changed), sampled(model), rtol=0, atol=0)
    assert seen == [0, 1, 2] * 2


def test_a_pack_may_compute_the_attention(model):
    heads: set[tuple[int, ...]] = set()

    def own(attend, q, k, v, count, **options):
        heads.add(tuple(q.shape[1:3]))
        return attend(q, k, v, count, **options)

    changed = model.clone()
    changed.model_options["transformer_options"]["optimized_attention_override"] = own
    torch.testing.assert_close(sampled(changed), sampled(model), rtol=0, atol=0)
    assert heads == {(2, 5 + 6)}


def test_features_of_a_control_are_added_behind_their_block():
    module, features = random_qwen_image(), torch.randn(1, 6, WIDTH)
    x, text = torch.randn(SIZE), torch.randn(1, 5, TINY_QWEN_IMAGE.context)
    plain = module(x, torch.tensor([0.5]), text)
    controlled = module(x, torch.tensor([0.5]), text, control={"input": [None, features]})
    assert not torch.allclose(plain, controlled, atol=1e-3)


# ---------------------------------------------------------------- running


def test_its_calls_are_recorded_and_played_back():
    module, tape = random_qwen_image(), Tape()
    recordings, alone = Recordings(tape), partial(module, transformer_options={})
    text, pictures = torch.randn(1, 5, TINY_QWEN_IMAGE.context), [torch.randn(1, 16, 1, 4, 2)]
    for number in range(4):
        given = {"x": torch.randn(1, 16, 1, 4, 4), "timesteps": torch.tensor([0.9 - 0.2 * number]), "context": text}
        given |= {"ref_latents": pictures}
        torch.testing.assert_close(recordings.call(alone, given), alone(**given))
    assert (tape.recorded, tape.played) == (1, 2)


def test_the_user_may_stop_it_between_blocks():
    flag = context.InterruptFlag()
    module, ran = random_qwen_image(), []
    module.transformer_blocks[0].register_forward_hook(lambda *_: (ran.append(0), flag.set()))
    module.transformer_blocks[1].register_forward_hook(lambda *_: ran.append(1))
    with context.entered(context.RunContext(interrupt=flag)), pytest.raises(Interrupted):
        module(torch.randn(SIZE), torch.tensor([0.5]), torch.randn(1, 5, TINY_QWEN_IMAGE.context))
    assert ran == [0]


def test_weights_that_travel_layer_by_layer_compute_the_same():
    module, x, text = random_qwen_image(), torch.randn(SIZE), torch.randn(1, 5, TINY_QWEN_IMAGE.context)
    plain = module(x, torch.tensor([0.5]), text)
    cast_leaves(module)
    Stream(module, porter := Copier())
    with torch.inference_mode():
        torch.testing.assert_close(module(x, torch.tensor([0.5]), text), plain)
    assert porter.waits == sum(isinstance(each, nn.Linear | nn.RMSNorm) for each in module.modules())
