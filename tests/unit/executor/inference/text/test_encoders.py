"""Text encoders beyond CLIP-L: SDXL's two, the refiner's and SD2.x's, in checkpoints and in files of their own."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from executor.errors import ModelFileError, NodeInputError
from executor.inference.lora import apply_lora
from executor.inference.memory import Memory
from executor.inference.text.clip import Clip
from executor.inference.text.encoders import encoder_of
from executor.inference.text.kinds import CLIP_G, CLIP_H
from executor.inference.text.loading import load_text_encoder
from executor.inference.weights import WeightFile
from tests.tiny_checkpoint import TinySizes, random_tensors, text_shapes
from tests.tiny_families import G_WIDTH, L_WIDTH, open_clip_shapes

CPU = Memory(mode="cpu")
KOHYA = (".lora_up.weight", ".lora_down.weight")
Q_PROJ = "encoder.layers.1.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def narrow() -> dict[str, Tensor]:
    """CLIP-L in transformers' names."""
    return random_tensors({"text_model.": text_shapes(TinySizes(context=L_WIDTH, text_layers=3))})


@pytest.fixture(scope="module")
def wide() -> dict[str, Tensor]:
    """CLIP-G in OpenCLIP's names."""
    return random_tensors({"": open_clip_shapes(G_WIDTH)})


@pytest.fixture(scope="module")
def files(narrow, wide, tmp_path_factory) -> tuple[Path, Path]:
    """A file of each."""
    folder = tmp_path_factory.mktemp("encoders")
    save_file(narrow, folder / "l.safetensors")
    save_file(wide, folder / "g.safetensors")
    return folder / "l.safetensors", folder / "g.safetensors"


@pytest.fixture(scope="module")
def pair(files) -> Clip:
    """SDXL's two encoders."""
    return load_text_encoder(files, "sdxl", CPU)


def alone(clip: Clip, name: str) -> Clip:
    """One of a pair's encoders."""
    [encoder] = [each for each in clip.encoders if each.name == name]
    return Clip(encoders=[encoder], memory=CPU)


def test_both_encoders_stand_side_by_side_and_the_second_one_pools(pair):
    [[both, options]] = pair.encode("a (red:1.3) circle")
    [[first, _]], [[second, own]] = (alone(pair, name).encode("a (red:1.3) circle") for name in "lg")
    assert torch.equal(both, torch.cat([first, second], dim=-1))
    assert torch.equal(options["pooled_output"], own["pooled_output"])


def test_files_of_a_pair_may_come_in_either_order(files, pair):
    turned = load_text_encoder([files[1], files[0]], "sdxl", CPU)
    assert torch.equal(turned.encode("a circle")[0][0], pair.encode("a circle")[0][0])


def test_each_encoder_pads_in_its_own_way(pair):
    tokens = pair.tokenize("cat")
    assert [tokens[name][0][-1].token for name in ("l", "g")] == [49407, 0]


def test_the_layer_before_the_last_is_taken_raw(pair):
    skipped = pair.clone().clip_layer(-2)
    assert torch.equal(skipped.encode("cat")[0][0], pair.encode("cat")[0][0])
    assert not torch.equal(pair.clone().clip_layer(-1).encode("cat")[0][0], pair.encode("cat")[0][0])


def test_a_shorter_text_is_filled_up_with_empty_chunks(pair):
    tokens = {"g": pair.tokenize("word " * 80)["g"], "l": pair.tokenize("cat")["l"]}
    [[found, _]] = pair.encode_tokens(tokens)
    assert found.shape == (1, 154, L_WIDTH + G_WIDTH)
    empty = alone(pair, "l").encode("")[0][0]
    torch.testing.assert_close(found[:, 77:, :L_WIDTH], empty)


def test_tokens_of_other_encoders_are_refused(pair):
    with pytest.raises(NodeInputError, match=r"these tokens are for \['l'\]; this text model takes \['l', 'g'\]"):
        pair.encode_tokens({"l": pair.tokenize("cat")["l"]})


def test_weights_have_the_names_that_packs_know(pair):
    names = set(pair.get_sd())
    assert f"clip_l.transformer.text_model.{Q_PROJ}" in names
    assert {f"clip_g.transformer.text_model.{Q_PROJ}", "clip_g.transformer.text_projection.weight"} <= names
    assert set(pair.get_key_patches()) == names


def test_an_open_clip_file_alone_is_sd2s_encoder(files):
    clip = load_text_encoder([files[1]], "stable_diffusion", CPU)
    assert clip.encoders[0].kind is CLIP_H
    assert clip.encode("cat")[0][0].shape == (1, 77, G_WIDTH)


def test_sd2s_encoder_norms_the_layer_before_the_last(files):
    clip = load_text_encoder([files[1]], "stable_diffusion", CPU)
    raw = Clip(encoders=[encoder_of(CLIP_G, clip.part)], memory=CPU)
    normed = clip.part.module.final_layer_norm(raw.encode("cat")[0][0])
    torch.testing.assert_close(clip.encode("cat")[0][0], normed)


@pytest.mark.parametrize(
    ("width", "layers", "name", "layer"), [(1280, 2, "g", -2), (1024, 2, "h", -2), (1024, 23, "h", None)]
)
def test_published_widths_tell_the_encoder(width, layers, name, layer, tmp_path):
    from executor.inference.text.loading import single_kind

    shapes = text_shapes(TinySizes(vocabulary=2, context=width, text_layers=1))
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    tensors |= {f"encoder.layers.{n}.x": torch.empty(0) for n in range(layers)}
    kind = single_kind(WeightFile(path=tmp_path / "x", tensors=tensors), "")
    assert (kind.name, kind.layer) == (name, layer)


@pytest.mark.parametrize(
    ("kind", "chosen", "reason"),
    [
        ("sdxl", "l", r"is one of 1 files for sdxl; SDXL takes two files"),
        ("sdxl", "ll", r"is CLIP-L, and so is \w+\.safetensors; SDXL takes two files"),
        ("stable_diffusion", "lg", r"is one of 2 files for stable_diffusion; the CLIP-L text encoder"),
    ],
)
def test_wrong_numbers_of_files_are_refused(files, kind, chosen, reason):
    paths = [files["lg".index(name)] for name in chosen]
    with pytest.raises(ModelFileError, match=reason):
        load_text_encoder(paths, kind, CPU)


def test_a_wide_encoder_without_its_projection_is_refused(files, wide, tmp_path):
    save_file({n: t for n, t in wide.items() if n != "text_projection"}, tmp_path / "g.safetensors")
    with pytest.raises(ModelFileError, match=r"has no text projection, which CLIP-G needs"):
        load_text_encoder([files[0], tmp_path / "g.safetensors"], "sdxl", CPU)


LORA_LAYERS = {
    "kohya": ("lora_te{n}_text_model_encoder_layers_1_self_attn_q_proj", ("1", "2")),
    "diffusers": ("text_encoder{n}.text_model.encoder.layers.1.self_attn.q_proj", ("", "_2")),
    "original names": ("clip_{n}.transformer.text_model.encoder.layers.1.self_attn.q_proj", ("l", "g")),
}


@pytest.mark.parametrize(("name", "numbers"), LORA_LAYERS.values(), ids=LORA_LAYERS)
@pytest.mark.parametrize(("place", "width"), [(0, L_WIDTH), (1, G_WIDTH)], ids=["first", "second"])
def test_a_lora_changes_the_encoder_that_it_names(pair, name, numbers, place, width):
    layer = name.format(n=numbers[place])
    lora = {f"{layer}{KOHYA[0]}": torch.randn(width, 2), f"{layer}{KOHYA[1]}": torch.randn(2, width)}
    file = WeightFile(path=Path("style.safetensors"), tensors=lora)
    _, clip = apply_lora(file, None, pair, 1.0, 1.0)
    assert list(clip.patches) == [f"clip_{'lg'[place]}.transformer.text_model.{Q_PROJ}"]
    assert not torch.equal(clip.encode("cat")[0][0], pair.encode("cat")[0][0])


def test_a_lora_for_the_text_projection_is_found(pair):
    lora = {"lora_te2_text_projection.diff": torch.randn(G_WIDTH, G_WIDTH)}
    _, clip = apply_lora(WeightFile(path=Path("style.safetensors"), tensors=lora), None, pair, 1.0, 1.0)
    assert list(clip.patches) == ["clip_g.transformer.text_projection.weight"]


def test_an_embedding_made_for_one_encoder_stands_in_the_tokens_of_both_and_counts_in_its_own(files, tmp_path, caplog):
    save_file({"emb_params": torch.randn(2, L_WIDTH)}, tmp_path / "style.safetensors")
    clip = load_text_encoder(files, "sdxl", CPU, embedding_folders=[tmp_path])
    tokens = clip.tokenize("a (embedding:style circle:1.4)")
    assert [sum(isinstance(place.token, Tensor) for place in tokens[name][0]) for name in "lg"] == [2, 2]
    [[found, _]] = clip.encode_from_tokens_scheduled(tokens)
    [[without, _]] = clip.encode("a (circle:1.4)")
    assert not torch.allclose(found[..., :L_WIDTH], without[..., :L_WIDTH])
    torch.testing.assert_close(found[..., L_WIDTH:], without[..., L_WIDTH:], rtol=1e-5, atol=1e-5)
    assert f"ignored by CLIP-G: its vectors are not of width {G_WIDTH}" in caplog.text
