"""UMT5's encoder against transformers' own, and how Wan reads texts by it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from transformers import UMT5Config, UMT5EncoderModel

from executor.errors import ModelFileError
from executor.inference.memory import Memory
from executor.inference.text.clip import Clip
from executor.inference.text.loading import load_text_encoder
from tests.maths.recordings import error
from tests.tiny_texts import encoder_tensors
from tests.tiny_umt5 import HEADS, LAYERS, WIDTH, umt5_tensors, write_umt5

LENGTH = 512


@pytest.fixture
def clip(tmp_path) -> Clip:
    return load_text_encoder([write_umt5(tmp_path / "umt5_xxl.safetensors")], "wan", Memory(mode="cpu"))


def theirs() -> UMT5EncoderModel:
    """transformers' encoder of the same weights."""
    config = UMT5Config(
        vocab_size=300,
        d_model=WIDTH,
        d_kv=8,
        d_ff=2 * WIDTH,
        num_layers=LAYERS,
        num_heads=HEADS,
        feed_forward_proj="gated-gelu",
    )
    model = UMT5EncoderModel(config).eval()
    tensors = {name: each for name, each in umt5_tensors().items() if name != "spiece_model"}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert (set(missing), unexpected) <= ({"encoder.embed_tokens.weight"}, [])
    model.encoder.embed_tokens.weight = model.shared.weight
    return model


def test_a_text_is_read_as_by_transformers_and_its_padding_counts_as_zeros(clip):
    tokens = clip.tokenize("a cat runs")
    [places] = tokens["umt5xxl"]
    ids = torch.tensor([[place.token for place in places]])
    assert ids.shape == (1, LENGTH)
    assert ids[0, 3:5].tolist() == [1, 0]
    with torch.no_grad():
        wanted = theirs()(ids, attention_mask=(ids != 0).long()).last_hidden_state
    [[found, options]] = clip.encode_tokens(tokens)
    assert found.shape == (1, LENGTH, WIDTH)
    assert error(found[:, :4], wanted[:, :4]) < 1e-5
    assert not found[:, 4:].any()
    assert options["pooled_output"] is None


def test_a_long_text_is_read_whole(clip):
    [[found, _]] = clip.encode("cat " * 600)
    assert found.shape[1] > 600
    assert found.abs().sum(-1).bool().all()


def test_words_may_weigh_more(clip):
    [[plain, _]], [[weighed, _]] = clip.encode("a cat"), clip.encode("a (cat:1.5)")
    assert plain.shape == weighed.shape
    assert error(plain[:, :1], weighed[:, :1]) < 0.5
    assert error(weighed, plain) > 1e-3


def test_other_files_are_told(tmp_path):
    save_file(encoder_tensors("t5xxl"), tmp_path / "t5.safetensors")
    with pytest.raises(ModelFileError, match="is T5-XXL"):
        load_text_encoder([tmp_path / "t5.safetensors"], "wan", Memory(mode="cpu"))
    umt5 = write_umt5(tmp_path / "umt5.safetensors")
    with pytest.raises(ModelFileError, match="is a UMT5 encoder"):
        load_text_encoder([umt5], "chroma", Memory(mode="cpu"))


def test_a_file_without_its_vocabulary_is_told(tmp_path):
    tensors = umt5_tensors()
    del tensors["spiece_model"]
    save_file(tensors, tmp_path / "umt5.safetensors")
    with pytest.raises(ModelFileError, match=r"without its vocabulary \(spiece_model\)"):
        load_text_encoder([tmp_path / "umt5.safetensors"], "wan", Memory(mode="cpu"))


def test_weights_of_eight_bits_with_scales_are_read(tmp_path):
    tensors = umt5_tensors()
    name = "encoder.block.0.layer.0.SelfAttention.q.weight"
    scale = tensors[name].abs().max() / 448
    whole = load_text_encoder([write_umt5(tmp_path / "whole.safetensors")], "wan", Memory(mode="cpu"))
    tensors[name] = (tensors[name] / scale).to(torch.float8_e4m3fn)
    tensors |= {"encoder.block.0.layer.0.SelfAttention.q.scale_weight": scale, "scaled_fp8": torch.zeros(2)}
    save_file(tensors, tmp_path / "umt5.safetensors")
    clip = load_text_encoder([tmp_path / "umt5.safetensors"], "wan", Memory(mode="cpu"))
    assert error(clip.encode("a cat")[0][0], whole.encode("a cat")[0][0]) < 0.05
