"""The CLIP that nodes hand around."""

from pathlib import Path

import torch

from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.memory import Memory
from tests.tiny_families import write_tiny_family


def test_conditioning_is_a_list_of_pairs(tiny: Checkpoint):
    [[embedding, condition]] = tiny.clip.encode("a red circle")
    assert embedding.shape == (1, 77, 32)
    assert condition["pooled_output"].shape == (1, 32)


def test_a_long_prompt_is_encoded_in_chunks_on_end(tiny: Checkpoint):
    assert tiny.clip.encode("word " * 80)[0][0].shape == (1, 154, 32)


def test_tokens_and_text_give_the_same(tiny: Checkpoint):
    tokens = tiny.clip.tokenize("a (red:1.3) circle")
    assert torch.equal(tiny.clip.encode_tokens(tokens)[0][0], tiny.clip.encode("a (red:1.3) circle")[0][0])


def test_clip_skip_makes_another_encoder(tiny: Checkpoint):
    skipped = tiny.clip.clone().clip_layer(-2)
    assert tiny.clip.layer is None
    assert not torch.equal(skipped.encode("a circle")[0][0], tiny.clip.encode("a circle")[0][0])


def test_clip_skip_one_is_the_default(tiny: Checkpoint):
    assert torch.equal(tiny.clip.clone().clip_layer(-1).encode("a circle")[0][0], tiny.clip.encode("a circle")[0][0])


def test_a_clone_shares_the_weights(tiny: Checkpoint):
    assert tiny.clip.clone().part is tiny.clip.part


def test_weight_zero_is_the_empty_prompt_at_that_place(tiny: Checkpoint):
    weighted, empty = tiny.clip.encode("(circle:0)")[0][0], tiny.clip.encode("")[0][0]
    torch.testing.assert_close(weighted[:, 1], empty[:, 1])


def test_an_embedding_of_a_words_own_vector_means_that_word(tiny: Checkpoint):
    [[word, _]] = tiny.clip.encode("cat")
    [chunk] = tiny.clip.tokenizer.tokenize("cat")
    vector = tiny.clip.part.module.embeddings.token_embedding(torch.tensor(chunk[1].token))
    chunk[1] = chunk[1]._replace(token=vector)
    torch.testing.assert_close(tiny.clip.encode_tokens({"l": [chunk]})[0][0], word)


def test_the_pooled_vector_may_be_had_before_its_projection(tmp_path: Path):
    """As GLIGEN's boxes take it (diffusers' StableDiffusionGLIGENPipeline: the text model's pooler output)."""
    path = write_tiny_family(tmp_path / "sd2.safetensors", "sd2", vocabulary=49408)
    clip = load_checkpoint(path, Memory(mode="cpu")).clip
    assert clip is not None
    tokens, matrix = clip.tokenize("a cat"), clip.part.weights["text_projection.weight"].float()
    _, projected = clip.encode_from_tokens(tokens, return_pooled=True)
    _, plain = clip.encode_from_tokens(tokens, return_pooled="unprojected")
    torch.testing.assert_close(plain @ matrix.T, projected)
    assert not torch.equal(plain, projected)
    [[_, scheduled]] = clip.encode_from_tokens_scheduled(tokens, unprojected=True)
    assert torch.equal(scheduled["pooled_output"], plain)
