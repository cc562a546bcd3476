"""Compares text: tokens, prompt_weights, weights, tiny_clip."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from executor.inference.text.clip_model import ClipShape, ClipTextModel, Encoded
from executor.inference.text.embeddings import Embeddings
from executor.inference.text.encoding import encode_weighted
from executor.inference.text.prompt_weights import segments
from executor.inference.text.tokens import ChunkTokenizer, Weighted
from tests.parity.left_out import TEXTS
from tests.parity.recording import SHIPPED, Check, Figure, Recording, absolute, exact, relative

WEIGHT = 1e-6
ENCODED = 1e-4
ENCODERS = {"sd1.l": ("clip_l", 49407), "sdxl.l": ("clip_l", 49407), "sdxl.g": ("clip_g", 0)}
"""Tokenizers by their names in the recording: the key of their vectors, what fills their chunks."""


def checks(recording: Recording) -> Iterator[Check]:
    """Every case of these files."""
    for number in range(len(recording.described("tokens").get("prompts", ()))):
        yield Check(file="tokens", name=str(number), measure=partial(tokens, recording, number))
    for number in range(len(recording.described("prompt_weights").get("cases", ()))):
        yield Check(file="prompt_weights", name=str(number), measure=partial(prompt_weights, recording, number))
    for name in recording.cases("weights"):
        yield Check(file="weights", name=name, measure=partial(weights, recording, name))
    for name in recording.cases("tiny_clip"):
        yield Check(file="tiny_clip", name=name, measure=partial(tiny_clip, recording, name))


def tokenizer(recording: Recording, encoder: str) -> ChunkTokenizer:
    """The tokenizer of an encoder, with the recording's embedding files."""
    key, pad = ENCODERS[encoder]
    folder = recording.folder / "embeddings"
    folders = [folder if folder.exists() else SHIPPED / "embeddings"]
    return ChunkTokenizer(embeddings=Embeddings(folders=folders, key=key), pad=pad)


def tokens(recording: Recording, number: int) -> Iterator[Figure]:
    """Ids, embedding vectors and weights of every place, and which places are one word."""
    prompt = recording.described("tokens")["prompts"][number]
    for encoder in (name for name in prompt if "." in name and not name.endswith("word_ids_nonzero")):
        if encoder not in TEXTS:
            yield from of_encoder(recording, prompt, encoder)
    found = tokenizer(recording, "sd1.l").numbered(prompt["text"])
    words = [[place.word for place in chunk if place.word] for chunk in found]
    yield exact("words", words, prompt["sd1.word_ids_nonzero"])


def of_encoder(recording: Recording, prompt: dict[str, Any], encoder: str) -> Iterator[Figure]:
    """One encoder's places."""
    chunks = tokenizer(recording, encoder).tokenize(prompt["text"])
    recorded = [[(token, weight) for token, weight, times in each for _ in range(times)] for each in prompt[encoder]]
    yield exact(f"{encoder} chunks", [len(chunk) for chunk in chunks], [len(chunk) for chunk in recorded])
    wrong = off = 0.0
    for place, (token, weight) in zip(chain(*chunks), chain(*recorded), strict=True):
        wrong += not same_token(recording, encoder, place.token, token)
        off = max(off, difference(place.weight, float(weight)))
    yield Figure(part=f"{encoder} ids", error=wrong, bound=0.0)
    yield Figure(part=f"{encoder} weights", error=off, bound=WEIGHT)


def recorded_vectors(recording: Recording, encoder: str, name: str) -> Tensor:
    """The vectors [n, width] that a recording calls emb:FILE:KEY:ROW, all rows of the file."""
    _, file, key, _ = name.split(":")
    found = load_file(tokenizer(recording, encoder).embeddings.folders[0] / f"{file}.safetensors")[key]
    return found.reshape(-1, found.shape[-1])


def same_token(recording: Recording, encoder: str, found: int | Tensor, token: int | str) -> bool:
    """Whether a place has the recorded id, or the recorded row of an embedding file."""
    if isinstance(token, int):
        return found == token
    row = recorded_vectors(recording, encoder, token)[int(token.rpartition(":")[2])]
    return isinstance(found, Tensor) and torch.equal(found, row.float())


def difference(found: float, expected: float) -> float:
    """The distance of two weights; none between two that are no numbers or both without end."""
    if found == expected or (math.isnan(found) and math.isnan(expected)):
        return 0.0
    return abs(found - expected)


def prompt_weights(recording: Recording, number: int) -> Iterator[Figure]:
    """A text cut into parts with their weights."""
    text, expected = recording.described("prompt_weights")["cases"][number]
    found = segments(text)
    yield exact("texts", [each.text for each in found], [part for part, _ in expected])
    off = [difference(each.weight, float(weight)) for each, (_, weight) in zip(found, expected, strict=True)]
    yield Figure(part="weights", error=max(off, default=0.0), bound=WEIGHT)


def analytic_encoder(rows: list[list[int]]) -> Encoded:
    """The encoder that the weight interpolation was recorded with."""
    ids = torch.tensor(rows, dtype=torch.float32)[:, :, None] % 97
    place, channel = torch.arange(77, dtype=torch.float32)[None, :, None], torch.arange(8, dtype=torch.float32)
    hidden = torch.sin(ids * (channel + 1) * 0.1 + 0.05 * place)
    number = torch.arange(len(rows), dtype=torch.float32)[:, None]
    return Encoded(hidden, hidden.mean(dim=1) + number)


def weights(recording: Recording, name: str) -> Iterator[Figure]:
    """Places moved towards the empty text by their weights, and chunks joined."""
    case = recording.cases("weights")[name]
    made = ChunkTokenizer(embeddings=tokenizer(recording, "sd1.l").embeddings, pad=case["pad"])
    [empty] = made.tokenize("")
    found = encode_weighted(made.tokenize(case["text"]), empty, analytic_encoder)
    for part, tensor in (("z", found.hidden), ("pooled", found.pooled)):
        yield absolute(part, tensor, recording.tensor("weights", f"{name}/{part}"), WEIGHT)


def tiny_model(recording: Recording) -> ClipTextModel:
    """The recorded four-layer model."""
    config = recording.described("tiny_clip")["config"]
    shape = ClipShape(
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        intermediate=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        projection=config["projection_dim"],
    )
    model = ClipTextModel(shape).requires_grad_(False)
    names = [name for name in recording.tensors("tiny_clip") if name.startswith("weights/")]
    held = {name.removeprefix("weights/").removeprefix("text_model."): name for name in names}
    model.load_state_dict({name: recording.tensor("tiny_clip", key) for name, key in held.items()})
    return model


class TinyEncoder:
    """The recorded model as one case uses it."""

    def __init__(self, recording: Recording, case: dict[str, Any]) -> None:
        self.case, self.model = case, tiny_model(recording)
        self.vectors = recording.tensor("tiny_clip", "in/embedding")
        self.end = recording.described("tiny_clip")["config"]["eos_token_id"]

    def chunk(self, ids: list[int], weights: list[float]) -> list[Weighted]:
        """Start, tokens, end, padding, with the case's embedding put in."""
        places = [Weighted(self.end - 1, 1.0), *map(Weighted, ids, weights), Weighted(self.end, 1.0)]
        places += [Weighted(self.case["pad"], 1.0)] * (77 - len(places))
        where = self.case.get("embedding_rows_inserted_at")
        if where:
            places[where:where] = [Weighted(row, 1.0) for row in self.vectors]
        return places[:77]

    def __call__(self, rows: list[list[int | Tensor]]) -> Encoded:
        """What the model makes of token rows with the case's clip skip."""
        table = self.model.embeddings.token_embedding.weight
        given = torch.stack([torch.stack([t if torch.is_tensor(t) else table[t] for t in row]) for row in rows])
        ends = [next(p for p, t in enumerate(row) if not torch.is_tensor(t) and t == self.end) for row in rows]
        default = None if self.case["default_layer"] == "last" else self.case["default_layer"]
        layer = default if self.case["layer"] is None else self.case["layer"]
        return self.model(given, torch.tensor(ends), layer=layer, normed=self.case["final_norm_on_hidden"])


def tiny_clip(recording: Recording, name: str) -> Iterator[Figure]:
    """A text model with clip skip, weights, chunks and embedding vectors."""
    case = recording.cases("tiny_clip")[name]
    encoder = TinyEncoder(recording, case)
    given = case.get("weights")
    chunks = [encoder.chunk(ids, given or [1.0] * len(ids)) for ids in case["tokens"]]
    start, end, pad = encoder.end - 1, encoder.end, case["pad"]
    empty = [Weighted(start, 1.0), Weighted(end, 1.0), *[Weighted(pad, 1.0)] * 75]
    hidden, pooled = encode_weighted(chunks, empty, encoder)
    recorded = recording.tensor("tiny_clip", f"{name}/cond")
    if recorded.shape[1] < hidden.shape[1]:
        hidden = hidden[:, ::7]  # several chunks are stored at every seventh token
    yield relative("cond", hidden, recorded, ENCODED)
    yield relative("pooled", pooled, recording.tensor("tiny_clip", f"{name}/pooled"), ENCODED)
