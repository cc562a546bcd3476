"""PhotoMaker: its fusing against the paper's steps written out, tokens, files."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from executor.errors import ModelFileError, NodeInputError
from executor.inference.checkpoint import load_checkpoint
from executor.inference.memory import Memory
from executor.inference.photomaker import IdentityEncoder, find, inside, load_photomaker
from executor.inference.text.bpe import END
from executor.inference.text.tokens import ids_of
from executor.inference.vision import clip_preprocess
from tests.tiny_families import G_WIDTH, L_WIDTH, write_tiny_family

VISION, PATCH, SIDE = 64, 4, 8
WIDTH = L_WIDTH + G_WIDTH


def shapes():
    """Sizes of a PhotoMaker for the small SDXL."""
    found = {
        "vision_model.embeddings.class_embedding": (VISION,),
        "vision_model.embeddings.patch_embedding.weight": (VISION, 3, PATCH, PATCH),
        "vision_model.embeddings.position_embedding.weight": (1 + (SIDE // PATCH) ** 2, VISION),
        "visual_projection.weight": (L_WIDTH, VISION),
        "visual_projection_2.weight": (G_WIDTH, VISION),
    }
    layer = "vision_model.encoder.layers.0"
    linear = {f"{layer}.mlp.fc1": (2 * VISION, VISION), f"{layer}.mlp.fc2": (VISION, 2 * VISION)}
    linear |= {f"{layer}.self_attn.{name}_proj": (VISION, VISION) for name in ("q", "k", "v", "out")}
    linear |= {"fuse_module.mlp1.fc1": (WIDTH, 2 * WIDTH), "fuse_module.mlp1.fc2": (WIDTH, WIDTH)}
    linear |= {f"fuse_module.mlp2.fc{n}": (WIDTH, WIDTH) for n in (1, 2)}
    norms = {f"{layer}.layer_norm{n}": VISION for n in (1, 2)}
    norms |= {f"vision_model.{name}": VISION for name in ("pre_layrnorm", "post_layernorm")}
    norms |= {"fuse_module.mlp1.layernorm": 2 * WIDTH, "fuse_module.mlp2.layernorm": WIDTH}
    norms |= {"fuse_module.layer_norm": WIDTH}
    for name, (out, into) in linear.items():
        found |= {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
    for name, width in norms.items():
        found |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return found


def tensors():
    generator = torch.Generator().manual_seed(8)
    return {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes().items()}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The text encoders of a small SDXL."""
    path = tmp_path_factory.mktemp("sdxl") / "x.safetensors"
    return load_checkpoint(write_tiny_family(path, "sdxl"), Memory(mode="cpu")).clip


@pytest.fixture
def maker(tmp_path):
    torch.save({"id_encoder": tensors(), "lora_weights": {"x.lora_down.weight": torch.zeros(1)}}, tmp_path / "v1.bin")
    return load_photomaker(tmp_path / "v1.bin", Memory(mode="cpu"))


def mixed(weights, name, x):
    x = functional.layer_norm(x, x.shape[-1:], weights[f"{name}.layernorm.weight"], weights[f"{name}.layernorm.bias"])
    x = functional.gelu(functional.linear(x, weights[f"{name}.fc1.weight"], weights[f"{name}.fc1.bias"]))
    return functional.linear(x, weights[f"{name}.fc2.weight"], weights[f"{name}.fc2.bias"])


def test_words_and_pictures_are_fused_as_the_papers_formula_says(maker):
    weights, words = tensors(), torch.randn(2, WIDTH)
    pixels = torch.randn(2, 3, SIDE, SIDE)
    module = maker.part.module
    with torch.no_grad():
        found = module(pixels, words)
        seen = module.vision_model(pixels)[2]
    vectors = torch.cat(
        [seen @ weights["visual_projection.weight"].T, seen @ weights["visual_projection_2.weight"].T], 1
    )
    fused = mixed(weights, "fuse_module.mlp1", torch.cat([words, vectors], dim=1)) + words
    fused = mixed(weights, "fuse_module.mlp2", fused) + fused
    norm = (weights["fuse_module.layer_norm.weight"], weights["fuse_module.layer_norm.bias"])
    torch.testing.assert_close(found, functional.layer_norm(fused, (WIDTH,), *norm), rtol=1e-4, atol=1e-5)


def test_the_word_before_the_trigger_stands_once_for_each_picture(maker, clip):
    images = torch.rand(2, 20, 20, 3)
    [[embedding, options]] = maker.encode(images, clip, "photo of a man photomaker on a hill")
    [[plain, pooled]] = clip.encode("photo of a man man on a hill")
    place = 1 + len(ids_of("photo of a"))
    pixels = clip_preprocess(images, SIDE)
    with torch.no_grad():
        wanted = maker.part.module(pixels, plain[0, place : place + 2])
    torch.testing.assert_close(embedding[0, place : place + 2], wanted, rtol=1e-4, atol=1e-5)
    others = [n for n in range(77) if n not in (place, place + 1)]
    torch.testing.assert_close(embedding[0, others], plain[0, others], rtol=0, atol=0)
    torch.testing.assert_close(options["pooled_output"], pooled["pooled_output"], rtol=0, atol=0)


def test_the_trigger_may_stand_in_parentheses_and_in_a_later_chunk(maker, clip):
    text = "hill " * 80 + "(man photomaker:1.2)"
    [[embedding, _]] = maker.encode(torch.rand(1, 8, 8, 3), clip, text)
    [[plain, _]] = clip.encode("hill " * 80 + "(man:1.2)")
    changed = (embedding != plain).any(dim=-1)[0].nonzero().flatten().tolist()
    assert changed == [77 + 1 + (80 - 75)]


@pytest.mark.parametrize("text", ["a man on a hill", "photomaker", ""])
def test_a_prompt_without_a_word_before_the_trigger_is_read_as_it_is(maker, clip, text):
    [[embedding, _]] = maker.encode(torch.rand(1, 8, 8, 3), clip, text)
    torch.testing.assert_close(embedding, clip.encode(text)[0][0], rtol=0, atol=0)


def test_a_full_prompt_gives_its_last_words_up_for_copies(maker, clip):
    text = "man photomaker " + "hill " * 70
    [[embedding, _]] = maker.encode(torch.rand(9, 8, 8, 3), clip, text)
    [[plain, _]] = clip.encode("man " * 9 + "hill " * 66)
    torch.testing.assert_close(embedding[0, 10:77], plain[0, 10:77], rtol=0, atol=0)


def test_too_many_pictures_are_refused(maker, clip):
    with pytest.raises(NodeInputError, match="76 pictures do not fit"):
        maker.encode(torch.rand(76, 8, 8, 3), clip, "man photomaker")


def test_another_text_encoder_is_refused(maker, tiny):
    with pytest.raises(NodeInputError, match="of width 80, SDXL's, and this text encoder gives 32"):
        maker.encode(torch.rand(1, 8, 8, 3), tiny.clip, "man photomaker")


def test_tokens_are_found_as_runs(clip):
    chunk = clip.tokenize("a man photomaker")["l"][0]
    wanted = inside(clip.tokenize("photomaker")["l"][0])
    assert wanted == ids_of("photomaker")
    assert find(chunk, wanted) == 3
    assert find(chunk, [END + 1]) == -1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"id_encoder": {"qformer_perceiver.x": torch.zeros(1)}}, "second version, which needs a face recogniser"),
        ({"vision_model.x": torch.zeros(1)}, "looks like a CLIP vision model; PhotoMaker's first version"),
        ({"id_encoder": {n: t for n, t in tensors().items() if "post_layer" not in n}}, "lacks 2 tensors"),
        ({"id_encoder": {n: t for n, t in tensors().items() if "patch_emb" not in n}}, "lacks vision_model.embeddings"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "x.bin")
    with pytest.raises(ModelFileError, match=message):
        load_photomaker(tmp_path / "x.bin", Memory(mode="cpu"))


def test_the_module_takes_its_sizes_from_the_tensors():
    with torch.device("meta"):
        assert IdentityEncoder(tensors()).width == WIDTH
