"""Sets of text encoders: which files make one, and how what they give is joined for Flux, SD3 and Chroma."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from executor.errors import ModelFileError, NodeInputError
from executor.inference.conditioning_hooks import create_hook_lora
from executor.inference.lora import apply_lora
from executor.inference.memory import Memory
from executor.inference.text.clip import Clip
from executor.inference.text.encoder import Encoder
from executor.inference.text.encoders import encoder_of
from executor.inference.text.joining import FLUX, SD3
from executor.inference.text.kinds import CLIP_G, CLIP_L, T5_SD3
from executor.inference.text.loading import load_text_encoder
from executor.inference.text.places import FLUX_TEXTS, SD3_TEXTS, build_texts
from executor.inference.weights import WeightFile
from nodes.builtin.hooks import SetClipHooks
from tests.tiny_texts import G_WIDTH, L_WIDTH, T5_WIDTH, encoder_tensors, whole_texts, write_encoders

CPU = Memory(mode="cpu")
TEXT = "a (red:1.3) circle"
L, G, T5 = "clip_l", "clip_g", "t5xxl"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A file of each encoder."""
    return write_encoders(tmp_path_factory.mktemp("encoders"))


def load(files: dict[str, Path], kind: str, *names: str) -> Clip:
    return load_text_encoder([files[name] for name in names], kind, CPU)


@pytest.fixture(scope="module")
def flux(files) -> Clip:
    return load(files, "flux", L, T5)


@pytest.fixture(scope="module")
def sd3(files) -> Clip:
    return load(files, "sd3", L, G, T5)


def encoder(clip: Clip, name: str) -> Encoder:
    """One encoder of a CLIP, ready to compute."""
    found = next(each for each in clip.encoders if each.name == name)
    CPU.load(found.part)
    return found


def read_alone(clip: Clip, name: str, text: str = TEXT) -> tuple[Tensor, Tensor | None]:
    """What one encoder of a CLIP makes of a text."""
    one = encoder(clip, name)
    return one.encode(one.tokenizer.tokenize(text), None)


# ---------------------------------------------------------------- Flux


def test_flux_reads_by_t5_and_pools_by_clip_l(flux):
    [[embedding, options]] = flux.encode(TEXT)
    assert embedding.shape == (1, 256, T5_WIDTH)
    assert torch.equal(embedding, read_alone(flux, "t5xxl").hidden)
    assert torch.equal(options["pooled_output"], read_alone(flux, "l").pooled)


def test_flux_pools_without_the_projection_that_the_file_has(flux):
    module = encoder(flux, "l").part.module
    projected = module.text_projection(flux.encode(TEXT)[0][1]["pooled_output"])
    plain = Clip(encoders=[encoder_of(CLIP_L, encoder(flux, "l").part)], memory=CPU)
    torch.testing.assert_close(projected, plain.encode(TEXT)[0][1]["pooled_output"])


def test_a_long_text_is_one_sequence_for_t5_and_chunks_for_clip(flux):
    tokens = flux.tokenize("word " * 300)
    assert [len(tokens["t5xxl"]), len(tokens["t5xxl"][0])] == [1, 301]
    assert len(tokens["l"]) == 4
    assert flux.encode_tokens(tokens)[0][0].shape == (1, 301, T5_WIDTH)


# ---------------------------------------------------------------- SD3


def test_sd3_has_both_clips_side_by_side_and_t5_behind(sd3):
    [[embedding, options]] = sd3.encode(TEXT)
    first, second, third = (read_alone(sd3, name) for name in ("l", "g", "t5xxl"))
    assert embedding.shape == (1, 77 + 77, T5_WIDTH)
    assert torch.equal(embedding[:, :77, : L_WIDTH + G_WIDTH], torch.cat([first.hidden, second.hidden], dim=-1))
    assert not embedding[:, :77, L_WIDTH + G_WIDTH :].any()
    assert torch.equal(embedding[:, 77:], third.hidden)
    assert torch.equal(options["pooled_output"], torch.cat([first.pooled, second.pooled], dim=-1))


def test_sd3_projects_what_clip_g_pools_alone(sd3):
    for name, projects in (("l", False), ("g", True)):
        one = encoder(sd3, name)
        vectors = torch.stack([one.vectors([place.token for place in one.tokenizer.tokenize("cat")[0]])])
        wanted = one.part.module(vectors, torch.tensor([2]), projected=projects).pooled
        torch.testing.assert_close(read_alone(sd3, name, "cat").pooled, wanted)


def test_sd3_takes_the_layer_before_the_last_raw(sd3):
    for name in "lg":
        one = encoder(sd3, name)
        vectors = torch.stack([one.vectors([place.token for place in one.tokenizer.tokenize("cat")[0]])])
        ends = torch.tensor([2])
        wanted = one.part.module(vectors, ends, layer=-2, normed=False).hidden
        torch.testing.assert_close(read_alone(sd3, name, "cat").hidden, wanted)


@pytest.mark.parametrize(
    ("names", "length", "width"),
    [
        ((L,), 77, 4096),
        ((G,), 77, 4096),
        ((T5,), 77, T5_WIDTH),
        ((L, G), 77, 4096),
        ((L, T5), 154, L_WIDTH + 1280),
        ((G, T5), 154, 768 + G_WIDTH),
    ],
)
def test_an_encoder_that_sd3_lacks_counts_as_zeros(names, length, width):
    [[embedding, options]] = sd3_of(*names).encode(TEXT)
    assert embedding.shape == (1, length, width)
    assert options["pooled_output"].shape == (1, width_of(L, names) + width_of(G, names))
    if L not in names:
        assert not options["pooled_output"][:, :768].any()
        assert G not in names or not embedding[:, :77, :768].any()
    if G not in names:
        assert not options["pooled_output"][:, -1280:].any()


def width_of(name: str, names: tuple[str, ...]) -> int:
    """The width of an encoder's pooled vector, that of the published one where it is missing."""
    return {L: (768, L_WIDTH), G: (1280, G_WIDTH)}[name][name in names]


def sd3_of(*names: str) -> Clip:
    """SD3's set of these encoders."""
    texts = build_texts(WeightFile(path=Path("sd3.safetensors"), tensors=whole_texts(*names)), SD3_TEXTS)
    return Clip(encoders=[encoder_of(*each) for each in texts.built], memory=CPU, joining=SD3)


def test_encoders_with_nothing_to_read_count_as_missing(sd3):
    tokens = sd3.tokenize(TEXT)
    [[embedding, options]] = sd3.encode_tokens(tokens | {"l": [], "t5xxl": []})
    assert embedding.shape == (1, 77, 4096)
    assert not embedding[:, :, :768].any()
    assert torch.equal(embedding[:, :, 768 : 768 + G_WIDTH], read_alone(sd3, "g").hidden)
    assert not options["pooled_output"][:, :768].any()
    [[nothing, zeros]] = sd3.encode_tokens({"l": [], "g": [], "t5xxl": []})
    assert nothing.shape == (1, 77, 4096)
    assert zeros["pooled_output"].shape == (1, 2048)
    assert not nothing.any()
    assert not zeros["pooled_output"].any()


def test_texts_beside_are_filled_up_and_t5s_is_not(sd3):
    tokens = sd3.tokenize("word " * 80) | {"l": sd3.tokenize("cat")["l"]}
    [[embedding, _]] = sd3.encode_tokens(tokens)
    assert embedding.shape == (1, 154 + 81, T5_WIDTH)
    empty = read_alone(sd3, "l", "").hidden
    torch.testing.assert_close(embedding[:, 77:154, :L_WIDTH], empty)


def test_tokens_for_none_of_its_encoders_are_refused(sd3, flux):
    with pytest.raises(NodeInputError, match=r"these tokens are for \['h'\]; this text model takes \['l', 'g', 't5"):
        sd3.encode_tokens({"h": []})
    with pytest.raises(NodeInputError, match=r"these tokens are for \['l'\]; this text model takes \['l', 't5xxl'\]"):
        flux.encode_tokens({"l": flux.tokenize("cat")["l"]})


@pytest.mark.parametrize(("held", "lacked"), [(L, "t5xxl"), (T5, "l")])
def test_flux_reads_nothing_without_one_of_its_encoders(held, lacked):
    texts = build_texts(WeightFile(path=Path("flux.safetensors"), tensors=whole_texts(held)), FLUX_TEXTS)
    clip = Clip(encoders=[encoder_of(*each) for each in texts.built], memory=CPU, joining=FLUX)
    with pytest.raises(NodeInputError, match=rf"alone and lacks '{lacked}': load both encoders"):
        clip.encode("cat")


# ---------------------------------------------------------------- Chroma


def test_chroma_reads_by_t5_alone_which_does_not_see_the_padding(files):
    clip = load(files, "chroma", T5)
    assert [place.token for place in clip.tokenize("cat")["t5xxl"][0]] == [1712, 1]
    [[short, options]] = clip.encode("cat")
    assert options["pooled_output"] is None
    padded = clip.clone()
    padded.set_tokenizer_option("t5xxl_min_length", 9)
    [[long, _]] = padded.encode("cat")
    assert long.shape == (1, 9, T5_WIDTH)
    torch.testing.assert_close(long[:, :2], short, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- T5 among them


@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({}, 256),
        ({"t5xxl_min_length": 0}, 2),
        ({"t5xxl_min_length": 0, "t5xxl_min_padding": 3}, 5),
        ({"t5xxl_min_padding": 300}, 302),
        ({"umt5xxl_min_length": 9}, 256),
    ],
)
def test_options_set_how_far_t5s_texts_are_filled_up(flux, options, length):
    clip = flux.clone()
    for name, value in options.items():
        clip.set_tokenizer_option(name, value)
    [places] = clip.tokenize("cat")["t5xxl"]
    assert [place.token for place in places] == [1712, 1, *[0] * (length - 2)]
    assert len(flux.tokenize("cat")["t5xxl"][0]) == 256


def test_a_weight_moves_a_place_from_where_the_empty_text_stands(flux):
    plain, heavy = (read_alone(flux, "t5xxl", text).hidden for text in ("a red cat", "a (red:1.5) cat"))
    empty = read_alone(flux, "t5xxl", "").hidden
    moved = empty + (plain - empty) * 1.5
    torch.testing.assert_close(heavy[:, 2], moved[:, 2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(heavy[:, 3:], plain[:, 3:], rtol=1e-5, atol=1e-5)


def test_embeddings_stand_among_t5s_tokens(files, tmp_path):
    vectors = {"t5xxl": torch.randn(2, T5_WIDTH), "clip_l": torch.randn(3, L_WIDTH)}
    save_file(vectors, tmp_path / "style.safetensors")
    clip = load_text_encoder([files[L], files[T5]], "flux", CPU, embedding_folders=[tmp_path])
    tokens = clip.tokenize("a embedding:style cat")
    places = [place.token for place in tokens["t5xxl"][0][:5]]
    assert places[0] == 3
    assert torch.equal(torch.stack(places[2:4]), vectors["t5xxl"])
    assert places[4] == 1712
    assert sum(isinstance(place.token, Tensor) for place in tokens["l"][0]) == 3
    assert clip.encode_tokens(tokens)[0][0].isfinite().all()


def test_embeddings_of_another_width_are_left_out_by_t5(files, tmp_path, caplog):
    save_file({"emb_params": torch.randn(2, L_WIDTH)}, tmp_path / "old.safetensors")
    clip = load_text_encoder([files[L], files[T5]], "flux", CPU, embedding_folders=[tmp_path])
    with_it, without = clip.encode("cat embedding:old"), clip.encode("cat")
    assert torch.equal(with_it[0][0], without[0][0])
    assert "embedding ignored by T5-XXL" in caplog.text


def test_clip_skip_counts_for_t5_too(flux):
    skipped = flux.clone().clip_layer(-2)
    one = encoder(flux, "t5xxl")
    wanted = one.encode(one.tokenizer.tokenize(TEXT), -2).hidden
    assert torch.equal(skipped.encode(TEXT)[0][0], wanted)
    assert not torch.equal(wanted, flux.encode(TEXT)[0][0])


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("names", [(L, G, T5), (T5, G, L), (G, L, T5)])
def test_files_come_in_any_order(files, sd3, names):
    found, wanted = load(files, "sd3", *names).encode(TEXT), sd3.encode(TEXT)
    assert torch.equal(found[0][0], wanted[0][0])


@pytest.mark.parametrize(
    ("kind", "names", "reason"),
    [
        ("flux", (L,), r"is one of 1 files for flux; Flux takes two files: its CLIP-L and its T5-XXL"),
        ("flux", (L, L), r"clip_l\.safetensors: is CLIP-L, and so is clip_l\.safetensors; Flux takes"),
        ("flux", (T5, T5), r"is T5-XXL, and so is t5xxl\.safetensors; Flux takes"),
        ("chroma", (L,), r"is CLIP-L; Chroma takes one file: its T5-XXL text encoder"),
        ("sdxl", (L, T5), r"is T5-XXL; SDXL takes two files"),
        (
            "mochi",
            (T5,),
            r"for mochi are not supported yet; known types: stable_diffusion, sdxl, sd3, flux, chroma, qwen_image, wan",
        ),
        ("wan", (T5,), r"is T5-XXL; Wan takes one file: its UMT5-XXL text encoder"),
    ],
)
def test_files_that_do_not_fit_are_refused(files, kind, names, reason):
    with pytest.raises(ModelFileError, match=reason):
        load(files, kind, *names)


def test_a_checkpoints_texts_read_as_their_own_files(flux):
    file = WeightFile(path=Path("flux.safetensors"), tensors=whole_texts(L, T5))
    texts = build_texts(file, FLUX_TEXTS)
    assert texts.missing == ()
    clip = Clip(encoders=[encoder_of(*each) for each in texts.built], memory=CPU, joining=FLUX)
    for found, wanted in zip(clip.encode(TEXT)[0][0], flux.encode(TEXT)[0][0], strict=True):
        assert torch.equal(found, wanted)


def test_what_a_checkpoint_lacks_is_told():
    texts = build_texts(WeightFile(path=Path("sd3.safetensors"), tensors=whole_texts(L, G)), SD3_TEXTS)
    assert [kind.name for kind, _ in texts.built] == ["l", "g"]
    assert texts.missing == ("text encoder (T5-XXL)",)


# ---------------------------------------------------------------- weights

Q = "encoder.block.1.layer.0.SelfAttention.q"


def test_packs_know_t5s_weights_by_its_name(sd3):
    assert {f"t5xxl.transformer.{Q}.weight", "t5xxl.transformer.shared.weight"} <= set(sd3.get_sd())
    stage = sd3.cond_stage_model
    assert stage.t5xxl.transformer.get_input_embeddings() is encoder(sd3, "t5xxl").part.module.shared
    assert stage.clip_g.transformer.text_model is encoder(sd3, "g").part.module


@pytest.mark.parametrize(
    "layer",
    [
        f"lora_te3_{Q}",
        f"lora_te2_{Q}",
        f"text_encoder_2.{Q}",
        f"text_encoder_3.{Q}",
        f"text_encoders.t5xxl.transformer.{Q}",
    ],
)
def test_a_lora_changes_t5_by_any_of_its_names(sd3, layer):
    name = layer.replace(".", "_") if layer.startswith("lora_") else layer
    up, down = torch.randn(16, 2), torch.randn(2, T5_WIDTH)
    lora = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
    _, changed = apply_lora(WeightFile(path=Path("x.safetensors"), tensors=lora), None, sd3, 1.0, 0.5)
    found, pristine = (clip.get_sd()[f"t5xxl.transformer.{Q}.weight"].float() for clip in (changed, sd3))
    torch.testing.assert_close(found, pristine + 0.5 * (up @ down), rtol=1e-2, atol=1e-2)
    assert torch.equal(
        changed.get_sd()["clip_g.transformer.text_projection.weight"],
        sd3.get_sd()["clip_g.transformer.text_projection.weight"],
    )
    assert not torch.equal(changed.encode(TEXT)[0][0], sd3.encode(TEXT)[0][0])


def test_all_its_encoders_are_loaded_at_once(files):
    clip = load(files, "sd3", L, G, T5).load_model()
    assert all(each.part.placement is not None for each in clip.encoders)


def test_room_is_asked_for_what_t5_works_with(flux, monkeypatch):
    flux.load_model()
    asked = {}
    monkeypatch.setattr(CPU, "load", lambda part, working, patches: asked.update({part.name: working}))
    for text in ("cat", "word " * 600):
        flux.encode(text)
        cast = 4 * 2 * T5_WIDTH * T5_WIDTH
        states = 4 * 2 * len(flux.tokenize(text)["t5xxl"][0]) * T5_WIDTH
        assert asked["T5-XXL text encoder of t5xxl.safetensors"] > cast + 2 * states
        assert asked["CLIP-L text encoder of clip_l.safetensors"] == 0


def test_the_kinds_are_those_of_the_family(sd3):
    assert [each.kind.name for each in sd3.encoders] == ["l", "g", "t5xxl"]
    assert encoder(sd3, "g").kind is CLIP_G
    assert encoder(sd3, "t5xxl").kind is T5_SD3


@pytest.mark.parametrize("first", ["text", "vision"])
def test_a_whole_clip_is_read_by_its_text_side(files, tmp_path, first):
    vision = {"vision_model.encoder.layers.0.mlp.fc1.weight": torch.zeros(4, 4)}
    text = encoder_tensors(L)
    tensors = {**vision, **text} if first == "vision" else {**text, **vision}
    torch.save(tensors, tmp_path / "whole.pt")
    found, wanted = load_text_encoder([tmp_path / "whole.pt", files[T5]], "flux", CPU), load(files, "flux", L, T5)
    vectors = [clip.encode("cat")[0][1]["pooled_output"] for clip in (found, wanted)]
    assert torch.equal(*vectors)


def test_hooks_change_t5(flux):
    lora = {f"lora_te3_{Q.replace('.', '_')}.diff": torch.randn(16, T5_WIDTH)}
    group = create_hook_lora(lora, 1.0, 0.6)
    [hooked] = SetClipHooks().apply_hooks(flux, apply_to_conds=False, schedule_clip=False, hooks=group)
    _, loaded = apply_lora(WeightFile(path=Path("x.safetensors"), tensors=lora), None, flux, 0.0, 0.6)
    found = hooked.encode(TEXT)[0][0]
    assert torch.equal(found, loaded.encode(TEXT)[0][0])
    assert not torch.equal(found, flux.encode(TEXT)[0][0])
