"""PhotoMaker: pictures of a person fused into a word of the prompt (Li et al. 2023, arXiv:2312.04461, section 3.2).

The word before the trigger stands once for each picture; its embeddings are fused with the pictures' vectors. Knows no
diffusion model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.errors import ModelFileError, NodeInputError
from executor.inference.building import build_part
from executor.inference.detect import describe
from executor.inference.memory import Memory, Part
from executor.inference.text.bpe import END
from executor.inference.text.clip import Clip, Tokens
from executor.inference.text.tokens import CHUNK, Chunk, Token, Weighted
from executor.inference.values import Conditioning, Image
from executor.inference.vision import VisionModel, clip_preprocess
from executor.inference.weights import WeightFile, read_weights

TRIGGER = "photomaker"
PREFIX = "id_encoder."
LORA = "lora_weights."
FITS = "PhotoMaker's first version for SDXL (photomaker-v1.bin) fits here"


class Mixing(nn.Module):
    """A norm and two linear layers around a GELU, beside a skip connection if `stays`."""

    def __init__(self, into: int, out: int, *, stays: bool) -> None:
        super().__init__()
        self.stays = stays
        self.layernorm = nn.LayerNorm(into)
        self.fc1, self.fc2 = nn.Linear(into, out), nn.Linear(out, out)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., into] to [..., out]."""
        mixed: Tensor = self.fc2(functional.gelu(self.fc1(self.layernorm(x))))
        return mixed + x if self.stays else mixed


class Fusing(nn.Module):
    """A word's embedding with a picture's vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp1, self.mlp2 = Mixing(2 * width, width, stays=False), Mixing(width, width, stays=True)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, words: Tensor, vectors: Tensor) -> Tensor:
        """Both [N, C] to [N, C]."""
        fused: Tensor = self.layer_norm(self.mlp2(self.mlp1(torch.cat([words, vectors], dim=-1)) + words))
        return fused


class IdentityEncoder(nn.Module):
    """CLIP's picture tower with two projections, as wide as both text encoders of SDXL, and what fuses."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Sizes are those of the tensors."""
        super().__init__()
        self.vision_model = VisionModel(tensors)
        first, second = tensors["visual_projection.weight"].shape, tensors["visual_projection_2.weight"].shape
        self.visual_projection = nn.Linear(first[1], first[0], bias=False)
        self.visual_projection_2 = nn.Linear(second[1], second[0], bias=False)
        self.width = first[0] + second[0]
        self.fuse_module = Fusing(self.width)

    def forward(self, pixels: Tensor, words: Tensor) -> Tensor:
        """Embeddings [N, C] of a word, each fused with one picture of [N, 3, H, W]."""
        _, _, seen = self.vision_model(pixels)
        vectors = torch.cat([self.visual_projection(seen), self.visual_projection_2(seen)], dim=-1)
        fused: Tensor = self.fuse_module(words, vectors)
        return fused


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhotoMaker:
    """The PHOTOMAKER that nodes hand around."""

    part: Part[IdentityEncoder]
    memory: Memory

    def encode(self, images: Image, clip: Clip, text: str) -> Conditioning:
        """Conditioning of a prompt whose word before the trigger shows the persons of pictures [N, H, W, C].

        Without the trigger, or a word before it, the prompt is read as it is. Raises NodeInputError for a text encoder
        of another width.
        """
        tokens, place = with_copies(clip.tokenize(text), clip.tokenize(TRIGGER), clip.tokenize(""), len(images))
        conditioning = clip.encode_tokens(tokens)
        if place is None:
            return conditioning
        [[embedding, options]] = conditioning
        assert isinstance(embedding, Tensor)  # encode_tokens() made it
        if embedding.shape[-1] != self.part.module.width:
            widths = f"{self.part.module.width}, SDXL's, and this text encoder gives {embedding.shape[-1]}"
            raise NodeInputError(f"input 'clip': this PhotoMaker fuses embeddings of width {widths}")
        self.memory.load(self.part)
        pixels = clip_preprocess(images, self.part.module.vision_model.image_size)
        changed, here = embedding.clone(), slice(place, place + len(images))
        with torch.no_grad():
            words = changed[0, here].to(self.part.device, self.part.dtype)
            changed[0, here] = self.part.module(pixels.to(words), words).to(changed)
        return [[changed, options]]


def with_copies(tokens: Tokens, trigger: Tokens, empty: Tokens, copies: int) -> tuple[Tokens, int | None]:
    """Tokens without the trigger, the one before it `copies` times, and the place of the first copy; None: no trigger.

    Raises NodeInputError when the copies do not fit beside the prompt.
    """
    name, chunks = next(iter(tokens.items()))
    number = next((n for n, chunk in enumerate(chunks) if find(chunk, inside(trigger[name][0])) > 1), None)
    if number is None:
        return tokens, None
    changed, first = {}, 0
    for name, chunks in tokens.items():
        wanted = inside(trigger[name][0])
        first = find(chunks[number], wanted) - 1
        if first + copies > CHUNK - 1:
            raise NodeInputError(f"input 'image': {copies} pictures do not fit beside the words of the prompt")
        chunk = copied(chunks[number], first, len(wanted), copies, empty[name][0])
        changed[name] = [*chunks[:number], chunk, *chunks[number + 1 :]]
    return changed, number * CHUNK + first


def copied(chunk: Chunk, first: int, dropped: int, copies: int, empty: Chunk) -> Chunk:
    """A chunk with one place repeated and the `dropped` ones behind it left out; its end is kept."""
    places = [*chunk[:first], *[chunk[first]] * copies, *chunk[first + 1 + dropped :], *[empty[-1]] * dropped]
    ends = [number for number, place in enumerate(places) if isinstance(place.token, int) and place.token == END]
    return places[:CHUNK] if ends[0] < CHUNK else [*places[: CHUNK - 1], places[ends[0]]]


def inside(chunk: Chunk) -> list[Token]:
    """The tokens between start and end."""
    tokens = [place.token for place in chunk]
    return tokens[1 : tokens.index(END)]


def find(chunk: Sequence[Weighted], wanted: Sequence[Token]) -> int:
    """Where a run of tokens begins in a chunk; -1 where it is not."""
    ids = [place.token if isinstance(place.token, int) else -1 for place in chunk]
    starts = range(len(ids) - len(wanted) + 1)
    return next((start for start in starts if ids[start : start + len(wanted)] == list(wanted)), -1)


def load_photomaker(path: Path, memory: Memory) -> PhotoMaker:
    """The PhotoMaker of a file; ModelFileError when it is broken or holds none of the first version."""
    file = read_weights(path)
    inside = {name.removeprefix(PREFIX): tensor for name, tensor in file.tensors.items() if not name.startswith(LORA)}
    if any(name.startswith("qformer_perceiver.") for name in inside):
        reason = "is PhotoMaker's second version, which needs a face recogniser and is not supported"
        raise ModelFileError(path, reason, FITS)
    if "visual_projection_2.weight" not in inside or "fuse_module.mlp1.fc1.weight" not in inside:
        raise ModelFileError(path, f"looks like {describe(file.tensors)[0]}", FITS)
    whole = WeightFile(path=path, tensors=inside)
    try:
        part = build_part(whole, "PhotoMaker", "text", lambda: IdentityEncoder(inside), {name: name for name in inside})
    except KeyError as error:
        raise ModelFileError(path, f"its PhotoMaker lacks {error.args[0]}", FITS) from error
    return PhotoMaker(part=part, memory=memory)
