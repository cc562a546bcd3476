"""Nodes of Qwen-Image: prompts beside pictures, models mixed layer by layer, files saved and loaded again."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.checkpoint import load_checkpoint, load_diffusion_model
from executor.inference.memory import Memory
from executor.inference.text.chat import EDITING, SEEN, chat_ids_of
from executor.inference.text.loading import load_text_encoder
from executor.inference.vae import load_vae
from executor.inference.weights import read_weights
from nodes.builtin import qwen
from nodes.builtin.merging_by_layer import ModelMergeQwenImage
from nodes.builtin.model_sampling import ModelSamplingAuraFlow
from nodes.builtin.model_saving import CheckpointSave, CLIPSave, ModelSave
from nodes.builtin.qwen import TextEncodeQwenImageEdit, TextEncodeQwenImageEditPlus, sized
from tests.tiny_qwen import WIDTH, qwen_tensors, write_qwen
from tests.tiny_qwen_image import WRAPPED, qwen_image_tensors, write_qwen_image
from tests.tiny_texts import write_encoders
from tests.tiny_wan_vae import vae_tensors, write_wan_vae

CPU = Memory(mode="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = write_qwen(tmp_path_factory.mktemp("texts") / "qwen_2.5_vl_7b.safetensors")
    return load_text_encoder([path], "qwen_image", CPU)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load_vae(write_wan_vae(tmp_path_factory.mktemp("vae") / "qwen_image_vae.safetensors"), CPU)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Pictures of few pixels, so that no test takes long."""
    monkeypatch.setattr(qwen, "DRAWN", 128 * 128)
    monkeypatch.setattr(qwen, "GLANCED", 64 * 64)


def told(clip, monkeypatch) -> list[list[object]]:
    """The tokens of each text that is read from now on."""
    seen: list[list[object]] = []
    own = clip.tokenize

    def tokenize(text: str, **options: object):
        tokens = own(text, **options)
        seen.append([place.token for place in tokens["qwen25_7b"][0]])
        return tokens

    monkeypatch.setattr(clip, "tokenize", tokenize)
    return seen


def plain(tokens: list[object]) -> list[object]:
    """Tokens in which each picture is the size of it."""
    return [tuple(each.shape[1:3]) if isinstance(each, Tensor) else each for each in tokens]


def ids(text: str, *sizes: tuple[int, int]) -> list[object]:
    """The ids of a text with pictures of these sizes in their places."""
    left = list(sizes)
    return [left.pop(0) if each == 151655 else each for each in chat_ids_of(text)]


def test_a_picture_to_change_is_seen_by_both_models(clip, vae, monkeypatch):
    seen = told(clip, monkeypatch)
    ([[states, options]],) = TextEncodeQwenImageEdit().encode(clip, "make it red", vae, torch.rand(5, 40, 80, 3))
    assert plain(seen[0]) == ids(EDITING.replace("{}", SEEN + "make it red"), (96, 192))
    assert states.shape[-1] == WIDTH
    [latents] = options["reference_latents"]
    assert latents.shape == (1, 16, 1, 12, 24)


def test_without_a_vae_the_text_model_alone_sees_it(clip):
    picture = torch.rand(1, 40, 80, 4)
    ([[states, options]],) = TextEncodeQwenImageEdit().encode(clip, "make it red", None, picture)
    assert "reference_latents" not in options
    ([[other, _]],) = TextEncodeQwenImageEdit().encode(clip, "make it red", None, 1.0 - picture)
    assert not torch.allclose(states, other, atol=1e-4)


def test_without_a_picture_a_prompt_is_one_to_draw_by(clip, vae):
    ([[states, options]],) = TextEncodeQwenImageEdit().encode(clip, "a cat", vae)
    [[wanted, _]] = clip.encode("a cat")
    assert torch.equal(states, wanted)
    assert "reference_latents" not in options


def test_several_pictures_are_called_by_their_numbers(clip, vae, monkeypatch):
    seen = told(clip, monkeypatch)
    first, third = torch.rand(1, 40, 40, 3), torch.rand(1, 80, 40, 3)
    ([[_, options]],) = TextEncodeQwenImageEditPlus().encode(clip, "join them", vae, first, image3=third)
    prompt = f"Picture 1: {SEEN}Picture 3: {SEEN}join them"
    assert plain(seen[0]) == ids(EDITING.replace("{}", prompt), (64, 64), (96, 32))
    assert [each.shape for each in options["reference_latents"]] == [(1, 16, 1, 16, 16), (1, 16, 1, 24, 12)]


def test_without_pictures_the_words_around_the_prompt_are_those_of_changing(clip, monkeypatch):
    seen = told(clip, monkeypatch)
    ([[_, options]],) = TextEncodeQwenImageEditPlus().encode(clip, "a cat")
    assert seen[0] == chat_ids_of(EDITING.replace("{}", "a cat"))
    assert "reference_latents" not in options


def test_a_text_model_that_sees_nothing_is_refused(tmp_path):
    paths = write_encoders(tmp_path)
    other = load_text_encoder([paths["t5xxl"], paths["clip_l"]], "flux", CPU)
    with pytest.raises(NodeInputError, match=r"sees no pictures; load Qwen2\.5-VL with type 'qwen_image'"):
        TextEncodeQwenImageEdit().encode(other, "a cat", None, torch.rand(1, 32, 32, 3))
    with pytest.raises(NodeInputError, match="input 'clip'"):
        TextEncodeQwenImageEditPlus().encode(None, "a cat")


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((512, 512), (1024, 1024)), ((300, 1200), (512, 2048)), ((1080, 1920), (768, 1376)), ((10, 90000), (32, 97152))],
)
def test_pictures_are_scaled_as_by_diffusers(size, wanted):
    from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit import calculate_dimensions

    width, height, _ = calculate_dimensions(1024 * 1024, size[1] / size[0])
    assert (max(32, height), width) == wanted
    assert sized(torch.rand(1, *size, 1).expand(-1, -1, -1, 3), 1024 * 1024).shape == (1, *wanted, 3)


# ---------------------------------------------------------------- models


@pytest.fixture
def models(tmp_path):
    return [load_diffusion_model(write_qwen_image(tmp_path / f"{seed}.safetensors", seed=seed), CPU) for seed in (0, 1)]


def test_models_are_mixed_layer_by_layer(models):
    first, second = (each.patched_weights() for each in models)
    shares = {"img_in.": 1.0, "transformer_blocks.1.": 0.25, "txt_norm.": 0.0}
    (mixed,) = ModelMergeQwenImage().merge(*models, **shares)
    found = mixed.patched_weights()
    for key, share in {
        "img_in.weight": 1.0,
        "transformer_blocks.1.attn.norm_q.weight": 0.25,
        "transformer_blocks.1.txt_mlp.net.2.bias": 0.25,
        "txt_norm.weight": 0.0,
        "norm_out.linear.weight": 1.0,
    }.items():
        torch.testing.assert_close(found[key], share * first[key] + (1 - share) * second[key])


def test_the_shift_of_noise_levels_is_told(models):
    (shifted,) = ModelSamplingAuraFlow().patch_aura(models[0], 3.1)
    half = torch.tensor([0.5])
    assert shifted.model_sampling.sigma(half).item() == pytest.approx(3.1 * 0.5 / (1 + 2.1 * 0.5), abs=1e-6)
    assert shifted.model_sampling.timestep(half).item() == 0.5


def test_a_network_is_saved_and_loads_again(place, models):
    ModelSave().save(models[0], "diffusion_models/mine")
    [path] = (place.folders.root("output") / "diffusion_models").glob("*.safetensors")
    again = load_diffusion_model(path, CPU)
    assert again.family == "qwen_image"
    wanted, found = models[0].patched_weights(), again.patched_weights()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[key], weight) for key, weight in wanted.items())


def test_a_text_encoder_is_saved_with_what_sees(place, clip):
    CLIPSave().save(clip, "clip/mine")
    [path] = (place.folders.root("output") / "clip").glob("*.safetensors")
    assert path.name.startswith("mine_qwen25_7b")
    wanted, found = qwen_tensors(dtype=torch.float16), read_weights(path).tensors
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())
    assert load_text_encoder([path], "qwen_image", CPU).encoders[0].module.visual is not None


def test_a_checkpoint_is_saved_whole(place, tmp_path):
    texts = {
        f"text_encoders.qwen25_7b.transformer.{name}": each
        for name, each in qwen_tensors(sees=False, dtype=torch.float16).items()
    }
    parts = qwen_image_tensors(WRAPPED) | vae_tensors("vae.") | texts
    save_file(parts, tmp_path / "qwen.safetensors")
    found = load_checkpoint(tmp_path / "qwen.safetensors", CPU)
    CheckpointSave().save(found.model, found.clip, found.vae, "checkpoints/mine")
    [path] = (place.folders.root("output") / "checkpoints").glob("*.safetensors")
    again = read_weights(path).tensors
    assert set(parts) == set(again)
    assert all(torch.equal(parts[name].reshape(tensor.shape), tensor) for name, tensor in again.items())
