"""The text models of a CLIP as packs look into them (`cond_stage_model`): by encoder, by names of weights, by options.

Names are the ecosystem's (reference/custom_node_surface.md, "Object protocols"). Reads no text by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from executor.inference.text.tokens import ChunkTokenizer

if TYPE_CHECKING:
    from executor.inference.text.clip import Clip, Tokens
    from executor.inference.text.encoder import Encoder


class Transformer:
    """One text model under the name `text_model`."""

    def __init__(self, encoder: Encoder) -> None:
        self.text_model, self.encoder_itself = encoder.part.module, encoder

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of the tokens' vectors."""
        return self.encoder_itself.table

    def __getattr__(self, name: str) -> object:
        return getattr(self.text_model, name)


LONGEST = 99999999  # tokens of a sequence without a limit


class StageEncoder:
    """One encoder: its text model, and which layer it answers with."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.transformer = Transformer(encoder)
        self.layer_idx = encoder.kind.layer
        self.layer = "last" if encoder.kind.layer is None else "hidden"
        self.max_length = 77 if isinstance(encoder.tokenizer, ChunkTokenizer) else LONGEST

    def state_dict(self) -> dict[str, Tensor]:
        """Its weights by the text model's own names."""
        return self.encoder.part.module.state_dict()


class StageModel:
    """All text models of a CLIP; what it lacks itself is asked of the first one."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.own_encoders = {encoder.name: StageEncoder(encoder) for encoder in clip.encoders}

    def __getattr__(self, name: str) -> object:
        for each in self.own_encoders.values():
            if each.encoder.kind.label == name:
                return each
        return getattr(self.clip.part.module, name)

    def state_dict(self) -> dict[str, Tensor]:
        """Every weight by the name that packs know."""
        return {
            encoder.weight_name(key): weight
            for encoder in self.clip.encoders
            for key, weight in encoder.part.module.state_dict().items()
        }

    def encode_token_weights(self, token_weight_pairs: Tokens) -> tuple[Tensor, Tensor]:
        """Embedding [1, T, C] and pooled vector [1, P] of tokens."""
        return self.clip.encode_from_tokens(token_weight_pairs, return_pooled=True)  # type: ignore[return-value]

    def set_clip_options(self, options: Mapping[str, object]) -> None:
        """Answer with another layer (`layer`, counted from the end)."""
        layer = options.get("layer")
        if isinstance(layer, int):
            self.clip.layer = layer

    def reset_clip_options(self) -> None:
        """Answer with the family's own layer again."""
        self.clip.layer = None
