"""Nodes that give each of several text encoders a text of its own, and load and save sets of them."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from executor.errors import ModelFileError, NodeInputError
from executor.inference.families.saving import checkpoint_texts
from executor.inference.memory import Memory
from nodes.builtin.encoder_options import T5TokenizerOptions
from nodes.builtin.flux import CLIPTextEncodeFlux
from nodes.builtin.loaders import CLIPLoader, DualCLIPLoader
from nodes.builtin.model_saving import CLIPSave
from nodes.builtin.sd3_texts import CLIPTextEncodeSD3, TripleCLIPLoader
from tests.tiny_texts import G_WIDTH, L_WIDTH, T5_WIDTH, encoder_tensors, whole_texts, write_encoders

L, G, T5 = (f"{name}.safetensors" for name in ("clip_l", "clip_g", "t5xxl"))


@pytest.fixture
def files(place):
    """A file of each encoder in its folder."""
    place.memory = Memory(torch.device("cpu"))
    folder = place.folders.paths("text_encoders")[0]
    folder.mkdir(parents=True, exist_ok=True)
    return write_encoders(folder)


@pytest.fixture
def flux(files):
    [clip] = DualCLIPLoader().load_clip(T5, L, "flux")
    return clip


@pytest.fixture
def sd3(files):
    [clip] = TripleCLIPLoader().load_clip(T5, G, L)
    return clip


# ---------------------------------------------------------------- Flux


def test_each_encoder_of_flux_reads_its_own_text(flux):
    [[[embedding, options]]] = CLIPTextEncodeFlux().encode(flux, "a cat", "a red circle", 2.5)
    [[narrow, own]], [[wide, _]] = flux.encode("a cat"), flux.encode("a red circle")
    assert torch.equal(embedding, wide)
    assert torch.equal(options["pooled_output"], own["pooled_output"])
    assert options["guidance"] == 2.5
    assert not torch.equal(narrow, wide)


def test_a_text_model_without_t5_is_refused(files):
    [clip] = DualCLIPLoader().load_clip(L, G, "sdxl")
    with pytest.raises(NodeInputError, match=r"has no T5; load both encoders"):
        CLIPTextEncodeFlux().encode(clip, "", "", 3.5)


# ---------------------------------------------------------------- SD3


def test_each_encoder_of_sd3_reads_its_own_text(sd3):
    [[[embedding, options]]] = CLIPTextEncodeSD3().encode(sd3, "narrow", "wide", "long", "none")
    texts = {name: sd3.encode(text)[0] for name, text in (("l", "narrow"), ("g", "wide"), ("t5xxl", "long"))}
    assert torch.equal(embedding[:, :77, :L_WIDTH], texts["l"][0][:, :77, :L_WIDTH])
    sides = slice(L_WIDTH, L_WIDTH + G_WIDTH)
    assert torch.equal(embedding[:, :77, sides], texts["g"][0][:, :77, sides])
    assert torch.equal(embedding[:, 77:], texts["t5xxl"][0][:, 77:])
    pooled = options["pooled_output"]
    assert torch.equal(pooled[:, :L_WIDTH], texts["l"][1]["pooled_output"][:, :L_WIDTH])
    assert torch.equal(pooled[:, L_WIDTH:], texts["g"][1]["pooled_output"][:, L_WIDTH:])


def test_empty_texts_without_padding_count_as_zeros_and_no_tokens(sd3):
    [[[embedding, options]]] = CLIPTextEncodeSD3().encode(sd3, "", "a cat", "", "none")
    assert embedding.shape == (1, 77, 4096)
    assert not embedding[:, :, :768].any()
    assert not options["pooled_output"][:, :768].any()
    assert torch.equal(embedding[:, :, 768 : 768 + G_WIDTH], sd3.encode("a cat")[0][0][:, :77, L_WIDTH:][..., :G_WIDTH])


def test_empty_texts_with_padding_are_read(sd3):
    [[[embedding, options]]] = CLIPTextEncodeSD3().encode(sd3, "", "", "", "empty_prompt")
    [[wanted, own]] = sd3.encode("")
    assert torch.equal(embedding, wanted)
    assert torch.equal(options["pooled_output"], own["pooled_output"])
    assert options["pooled_output"].any()


def test_texts_for_encoders_that_are_not_there_are_left_out(files):
    [clip] = DualCLIPLoader().load_clip(L, G, "sd3")
    [[[embedding, _]]] = CLIPTextEncodeSD3().encode(clip, "a cat", "a cat", "nobody reads this", "none")
    assert torch.equal(embedding, clip.encode("a cat")[0][0])


# ---------------------------------------------------------------- loading


@pytest.mark.parametrize(("name", "width"), [(L, 4096), (T5, T5_WIDTH)])
def test_one_encoder_of_sd3_may_be_alone(files, name, width):
    [clip] = CLIPLoader().load_clip(name, "sd3")
    assert clip.encode("a cat")[0][0].shape == (1, 77, width)


def test_chroma_takes_t5_alone(files):
    [clip] = CLIPLoader().load_clip(T5, "chroma", "cpu")
    assert clip.encode("a cat")[0][0].shape == (1, 4, T5_WIDTH)


def test_three_files_of_two_encoders_are_refused(files):
    with pytest.raises(ModelFileError, match=r"is T5-XXL, and so is t5xxl\.safetensors; Stable Diffusion 3 takes"):
        TripleCLIPLoader().load_clip(T5, T5, L)


def test_options_for_t5_reach_its_texts(flux):
    [changed] = T5TokenizerOptions().set_options(flux, 2, 5)
    assert changed.encode("a cat")[0][0].shape == (1, 6, T5_WIDTH)
    assert flux.encode("a cat")[0][0].shape == (1, 256, T5_WIDTH)


# ---------------------------------------------------------------- saving


def test_each_encoder_is_saved_as_its_file_was(sd3, place):
    CLIPSave().save(sd3, "clip/set")
    folder = place.settings.folder("output") / "clip"
    for name in ("clip_l", "clip_g", "t5xxl"):
        found, wanted = load_file(folder / f"set_{name}_00001_.safetensors"), encoder_tensors(name)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize(("family", "kind", "files_of"), [("flux", "flux", (L, T5)), ("sd3", "sd3", (L, G))])
def test_a_checkpoint_holds_whichever_encoders_there_are(files, family, kind, files_of):
    [clip] = DualCLIPLoader().load_clip(*files_of, kind)
    found = checkpoint_texts(family, clip)
    wanted = whole_texts(*(name.removesuffix(".safetensors") for name in files_of))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


# ---------------------------------------------------------------- 8 bits

EIGHT = torch.float8_e4m3fn


def write_eight(folder, *, scaled: bool):
    """T5 in 8 bits, with a scale beside each matrix or none; tells its tensors as they are meant."""
    plain = encoder_tensors("t5xxl")
    stored, meant = dict(plain), dict(plain)
    for name, tensor in plain.items():
        if tensor.ndim == 2 and "relative" not in name:
            scale = tensor.float().abs().max() / 448 if scaled else torch.tensor(1.0)
            stored[name] = (tensor.float() / scale).to(EIGHT)
            meant[name] = stored[name].float() * scale
            if scaled:
                stored[name.replace(".weight", ".scale_weight")] = scale
    save_file(stored | ({"scaled_fp8": torch.zeros(0).to(EIGHT)} if scaled else {}), folder / "eight.safetensors")
    save_file(meant, folder / "meant.safetensors")


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
def test_t5_in_eight_bits_reads_as_its_weights_are_meant(files, scaled):
    write_eight(files["t5xxl"].parent, scaled=scaled)
    [eight] = DualCLIPLoader().load_clip("eight.safetensors", L, "flux")
    [meant] = DualCLIPLoader().load_clip("meant.safetensors", L, "flux")
    found, wanted = eight.encode("a (red:1.2) circle")[0][0], meant.encode("a (red:1.2) circle")[0][0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    part = eight.encoders[1].part
    assert part.module.encoder.block[0].layer[0].SelfAttention.q.weight.dtype == EIGHT
    assert part.module.shared.weight.dtype == EIGHT
    saved = eight.get_sd()["t5xxl.transformer.shared.weight"]
    torch.testing.assert_close(
        saved.float(), meant.get_sd()["t5xxl.transformer.shared.weight"].float(), rtol=1e-3, atol=1e-7
    )
