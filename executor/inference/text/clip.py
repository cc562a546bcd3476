"""The CLIP that nodes hand around: one or several text encoders and clip skip together. Knows no diffusion model.

Method names and arguments are the ecosystem's (reference/custom_node_surface.md, "Object protocols", CLIP).
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from executor.errors import NodeInputError
from executor.inference.conditioning_hooks import Hook, HookGroup
from executor.inference.handle import unconverted
from executor.inference.hook_conditioning import conditioning_set_values
from executor.inference.memory import Memory, Part
from executor.inference.patching import PatchKey, PatchSet, WeightPatch, split_key
from executor.inference.shortage import attempt
from executor.inference.text.clip_model import Encoded
from executor.inference.text.encoder import Encoder
from executor.inference.text.hooked import hooked, read_under_hooks
from executor.inference.text.joining import Joining, side_by_side
from executor.inference.text.stage_model import StageModel
from executor.inference.text.tokens import Chunk, PromptTokenizer, Weighted
from executor.inference.values import Conditioning

Tokens: TypeAlias = dict[str, list[Chunk]]  # encoder's name ("l") → chunks
UNPROJECTED = "unprojected"
"""What packs ask for as `return_pooled`: the pooled vector before the model's projection."""


class Clip:
    """The text encoders of a model and how they are used; clones share weights.

    What several give is joined as the family has it: side by side, if nothing else is told.
    """

    def __init__(self, *, encoders: Sequence[Encoder], memory: Memory, joining: Joining | None = None) -> None:
        self.encoders, self.memory = tuple(encoders), memory
        self.joining = side_by_side([each.name for each in encoders]) if joining is None else joining
        self.layer: int | None = None  # the clip skip: -1 the last layer, -2 the one before; None: the family's own
        self.patches: dict[str, list[WeightPatch]] = {}
        self.patches_uuid = uuid.UUID(int=0)  # the same for every unpatched clone
        self.tokenizer_options: dict[str, object] = {}
        self.hooks: HookGroup | None = None  # what its weights are under while it reads
        self.apply_hooks_to_conds: HookGroup | None = None  # what goes on with the conditioning it makes
        self.use_clip_schedule = False  # whether texts are read anew for each span of the hooks' strengths
        self.under_hooks: dict[object, tuple[uuid.UUID, dict[str, list[WeightPatch]]]] = {}  # see text/hooked.py

    def clone(self) -> Clip:
        """The same encoders to be changed apart; weights are shared."""
        other = copy.copy(self)
        other.patches = {key: list(patches) for key, patches in self.patches.items()}
        other.tokenizer_options = dict(self.tokenizer_options)
        other.under_hooks = {}
        return other

    @property
    def part(self) -> Part[nn.Module]:
        """The first encoder's weights."""
        return self.encoders[0].part

    @property
    def tokenizer(self) -> PromptTokenizer:
        """The first encoder's tokenizer."""
        return self.encoders[0].tokenizer

    @property
    def cond_stage_model(self) -> StageModel:
        """Its text models, as packs look into them."""
        return StageModel(self)

    @property
    def patcher(self) -> Clip:
        """What packs ask for devices and patches: itself."""
        return self

    @property
    def load_device(self) -> torch.device:
        """Where it computes."""
        return self.memory.device

    def clip_layer(self, layer: int) -> Clip:
        """Stop at a layer: -1 the last, -2 the one before and so on; tells itself."""
        self.layer = layer
        return self

    @property
    def layer_idx(self) -> int | None:
        """The layer it stops at, under the name that packs know."""
        return self.layer

    # ---------------------------------------------------------------- text

    def tokenize(self, text: str, return_word_ids: bool = False, **options: object) -> Tokens:
        """The weighted tokens of a prompt by encoder, in chunks, each with the number of its word if asked.

        CLIP's chunks are of 77 places, T5's and Qwen's only one is of any length. Options are for this text alone.
        """
        told = {**self.tokenizer_options, **options}
        tokenizers = {each.name: each.tokenizer_for(told) for each in self.encoders}
        if return_word_ids:
            return {name: cast("list[Chunk]", each.numbered(text)) for name, each in tokenizers.items()}
        return {name: each.tokenize(text) for name, each in tokenizers.items()}

    def set_tokenizer_option(self, option_name: str, value: object) -> None:
        """Set something that tokenizers of some families know by name."""
        self.tokenizer_options[option_name] = value

    def encode(self, text: str) -> Conditioning:
        """Conditioning of a prompt."""
        return self.encode_tokens(self.tokenize(text))

    def encode_tokens(self, tokens: Tokens) -> Conditioning:
        """Conditioning of tokens: [[embedding [1, T, C], {"pooled_output": [1, P] or None}]], on the CPU.

        Under a schedule of hooks there is an entry for each span of their strengths.
        Raises NodeInputError for tokens of other encoders.
        """
        return read_under_hooks(self, tokens)

    def encode_from_tokens_scheduled(
        self,
        tokens: Tokens,
        unprojected: bool = False,
        add_dict: Mapping[str, object] | None = None,
        show_pbar: bool = True,
    ) -> Conditioning:
        """`encode_tokens` with more values on each entry, and the pooled vector `unprojected` if asked."""
        return conditioning_set_values(read_under_hooks(self, tokens, projected=not unprojected), add_dict or {})

    def encode_from_tokens(
        self, tokens: Tokens, return_pooled: bool | str = False, return_dict: bool = False
    ) -> Tensor | tuple[Tensor, Tensor | None] | dict[str, Tensor | None]:
        """The embedding [1, T, C] of tokens; with the pooled vector [1, P], or both by name, if asked.

        With `return_pooled="unprojected"` the pooled vector is the one before the model's projection.
        """
        hidden, pooled = hooked(self).encoded(tokens, projected=return_pooled != UNPROJECTED)
        if return_dict:
            return {"cond": hidden, "pooled_output": pooled}
        return (hidden, pooled) if return_pooled else hidden

    def encoded(self, tokens: Tokens, *, projected: bool = True) -> Encoded:
        """Hidden states and pooled vector of tokens, as its weights are without hooks; `projected` as `Encoder.encode`.

        Tried once more with less when memory runs out; raises OutOfMemory after that.
        """
        return attempt(self.memory, lambda: self._encoded(tokens, projected=projected))

    def _encoded(self, tokens: Tokens, *, projected: bool) -> Encoded:
        answers: dict[str, Encoded] = {}
        chunks = self._chunks(tokens)
        for encoder in self.encoders:
            if read := chunks[encoder.name]:
                self.memory.load(encoder.part, encoder.working_bytes(read), self.patch_set(encoder))
                answers[encoder.name] = encoder.encode(read, self.layer, projected=projected)
        return self.joining.joined(answers)

    def _chunks(self, tokens: Tokens) -> dict[str, list[Chunk]]:
        """Each encoder's chunks, without word numbers: as many for each whose states stand side by side.

        Missing ones of those are empty; an encoder that a family may lack may also have nothing to read.
        """
        names = [each.name for each in self.encoders]
        if lacking := self.joining.lacking(names):
            raise NodeInputError(f"this text model reads by {names} alone and lacks {lacking[0]!r}: load both encoders")
        read = [name for name in names if tokens.get(name) or not self.joining.may_lack]
        if not set(read) <= tokens.keys() or not tokens.keys() & set(names):
            raise NodeInputError(f"these tokens are for {sorted(tokens)}; this text model takes {names}")
        longest = max((len(tokens[name]) for name in read if name in self.joining.beside), default=0)
        found: dict[str, list[Chunk]] = {}
        for encoder in self.encoders:
            chunks = [[Weighted(*place[:2]) for place in chunk] for chunk in tokens.get(encoder.name, [])]
            missing = longest - len(chunks) if encoder.name in read and encoder.name in self.joining.beside else 0
            found[encoder.name] = [*chunks, *([encoder.empty()] * missing)]
        return found

    # ---------------------------------------------------------------- weights

    def load_model(self) -> Clip:
        """Make the encoders ready to compute as patched; tells itself."""
        with self.memory.keeping([each.part for each in self.encoders]):
            for encoder in self.encoders:
                self.memory.load(encoder.part, patches=self.patch_set(encoder))
        return self

    def patch_set(self, encoder: Encoder) -> PatchSet:
        """The patches of an encoder by the names of its module's weights."""
        by_key = {key: held for name, held in self.patches.items() if (key := encoder.key_of(name)) is not None}
        return PatchSet(by_key=by_key, id=self.patches_uuid)

    def add_patches(
        self, patches: Mapping[PatchKey, object], strength_patch: float = 1.0, strength_model: float = 1.0
    ) -> list[PatchKey]:
        """Change weights, named as `clip_l.transformer.text_model.…`; tells which of them exist."""
        taken: list[PatchKey] = []
        for key, value in patches.items():
            name, offset, function = split_key(key)
            if any(encoder.key_of(name) is not None for encoder in self.encoders):
                patch = WeightPatch(strength_patch, value, strength_model, offset, function)
                self.patches.setdefault(name, []).append(patch)
                taken.append(key)
        self.patches_uuid = uuid.uuid4()
        return taken

    def add_hook_patches(
        self, hook: Hook, patches: Mapping[PatchKey, object], strength_patch: float = 1.0, strength_model: float = 1.0
    ) -> list[PatchKey]:
        """Change weights by a hook at its present strength; tells which of them exist."""
        return self.add_patches(patches, strength_patch * hook.strength, strength_model)

    def named_weights(self) -> dict[str, Tensor]:
        """Its pristine weights, mapped from the file, by the names that packs know."""
        return {each.weight_name(key): weight for each in self.encoders for key, weight in each.part.weights.items()}

    def get_key_patches(self) -> dict[str, list[object]]:
        """Every weight with this CLIP's patches, [(weight, convert), *patches]: what merging hands to another one."""
        return {
            name: [(weight, unconverted), *self.patches.get(name, [])] for name, weight in self.named_weights().items()
        }

    def get_sd(self) -> dict[str, Tensor]:
        """Its weights with its patches, in the file's types, by the names that packs know."""
        found = self.named_weights()
        for encoder in self.encoders:
            patches = self.patch_set(encoder)
            found |= {
                encoder.weight_name(key): patches.applied(key, encoder.part.weights[key]) for key in patches.by_key
            }
        return found
