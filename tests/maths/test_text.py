"""Text: weights, tokens, encoder and interpolation against the recordings (numeric README: exact ids, 1e-6, r 1e-4)."""

from __future__ import annotations

import functools
from itertools import chain

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from executor.inference.text.clip_model import ClipShape, ClipTextModel, Encoded
from executor.inference.text.embeddings import Embeddings
from executor.inference.text.encoding import encode_weighted
from executor.inference.text.prompt_weights import segments
from executor.inference.text.tokens import ChunkTokenizer, Weighted
from tests.maths.recordings import FOLDER, cases, described, error, tensors

EMBEDDINGS = FOLDER / "embeddings"
TOKENIZER = ChunkTokenizer(embeddings=Embeddings(folders=[EMBEDDINGS], width=768))
PROMPTS = described("tokens")["prompts"]
SEGMENTS = described("prompt_weights")["cases"]
START, END = 598, 599  # of the recorded tiny model


@pytest.mark.parametrize(("text", "expected"), SEGMENTS, ids=range(len(SEGMENTS)))
def test_prompt_weights_are_as_recorded(text, expected):
    found = segments(text)
    assert [segment.text for segment in found] == [segment for segment, _ in expected]
    weights = [float(weight) for _, weight in expected]
    assert [segment.weight for segment in found] == pytest.approx(weights, abs=1e-6, nan_ok=True)


def recorded_vector(name: str) -> Tensor:
    """The embedding vector that a recording calls emb:FILE:KEY:ROW."""
    _, file, key, row = name.split(":")
    return load_file(EMBEDDINGS / f"{file}.safetensors")[key].reshape(-1, 768)[int(row)].float()


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_tokens_are_as_recorded(prompt):
    chunks = TOKENIZER.tokenize(prompt["text"])
    expected = [[token for token, _, times in chunk for _ in range(times)] for chunk in prompt["sd1.l"]]
    assert [len(chunk) for chunk in chunks] == [len(chunk) for chunk in expected]
    for place, token in zip(chain(*chunks), chain(*expected), strict=True):
        if isinstance(token, str):
            assert torch.equal(place.token, recorded_vector(token))
        else:
            assert place.token == token


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_token_weights_are_as_recorded(prompt):
    found = [place.weight for chunk in TOKENIZER.tokenize(prompt["text"]) for place in chunk]
    expected = [float(weight) for chunk in prompt["sd1.l"] for _, weight, times in chunk for _ in range(times)]
    assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_groups_of_tokens_are_as_recorded(prompt):
    found = [[place.word for place in chunk if place.word] for chunk in TOKENIZER.numbered(prompt["text"])]
    assert found == prompt["sd1.word_ids_nonzero"]


def analytic_encoder(rows: list[list[int]]) -> Encoded:
    """The encoder that the weight interpolation was recorded with."""
    ids = torch.tensor(rows, dtype=torch.float32)[:, :, None] % 97
    place, channel = torch.arange(77, dtype=torch.float32)[None, :, None], torch.arange(8, dtype=torch.float32)
    hidden = torch.sin(ids * (channel + 1) * 0.1 + 0.05 * place)
    number = torch.arange(len(rows), dtype=torch.float32)[:, None]
    return Encoded(hidden, hidden.mean(dim=1) + number)


@pytest.mark.parametrize("name", cases("weights"))
def test_weights_move_places_as_recorded(name):
    case = cases("weights")[name]
    tokenizer = ChunkTokenizer(embeddings=TOKENIZER.embeddings, pad=case["pad"])
    [empty] = tokenizer.tokenize("")
    found = encode_weighted(tokenizer.tokenize(case["text"]), empty, analytic_encoder)
    for part, expected in (("z", found.hidden), ("pooled", found.pooled)):
        torch.testing.assert_close(expected, tensors("weights")[f"{name}/{part}"], rtol=0, atol=1e-6)


@functools.cache
def tiny_model() -> ClipTextModel:
    """The recorded four-layer model."""
    shape = ClipShape(width=32, layers=4, heads=4, intermediate=64, vocabulary=600, projection=32)
    model = ClipTextModel(shape).requires_grad_(False)
    prefix = "weights/"
    recorded = {k.removeprefix(prefix): v for k, v in tensors("tiny_clip").items() if k.startswith(prefix)}
    model.load_state_dict({name.removeprefix("text_model."): weight for name, weight in recorded.items()})
    return model


def encode_tiny(case: dict[str, object], rows: list[list[int | Tensor]]) -> Encoded:
    """What the recorded model makes of token rows with the clip skip of a case."""
    model = tiny_model()
    table = model.embeddings.token_embedding.weight
    vectors = torch.stack([torch.stack([t if torch.is_tensor(t) else table[t] for t in row]) for row in rows])
    ends = torch.tensor([next(p for p, t in enumerate(row) if not torch.is_tensor(t) and t == END) for row in rows])
    default = None if case["default_layer"] == "last" else case["default_layer"]
    layer = default if case["layer"] is None else case["layer"]
    return model(vectors, ends, layer=layer, normed=case["final_norm_on_hidden"])


def tiny_chunk(case: dict[str, object], tokens: list[int], weights: list[float]) -> list[Weighted]:
    """One chunk of a case: start, tokens, end, padding, with the case's embedding put in."""
    places = [Weighted(START, 1.0), *map(Weighted, tokens, weights), Weighted(END, 1.0)]
    places += [Weighted(case["pad"], 1.0)] * (77 - len(places))
    where = case.get("embedding_rows_inserted_at")
    if where:
        places[where:where] = [Weighted(row, 1.0) for row in tensors("tiny_clip")["in/embedding"]]
    return places[:77]


@pytest.mark.parametrize("name", cases("tiny_clip"))
def test_the_encoder_is_as_recorded(name):
    case = cases("tiny_clip")[name]
    weights = case.get("weights") or [1.0] * 75
    chunks = [tiny_chunk(case, tokens, weights) for tokens in case["tokens"]]
    empty = [Weighted(START, 1.0), Weighted(END, 1.0), *[Weighted(case["pad"], 1.0)] * 75]
    hidden, pooled = encode_weighted(chunks, empty, functools.partial(encode_tiny, case))
    if len(chunks) > 1:
        hidden = hidden[:, ::7]
    found = error(hidden, tensors("tiny_clip")[f"{name}/cond"]), error(pooled, tensors("tiny_clip")[f"{name}/pooled"])
    assert max(found) < 1e-4
