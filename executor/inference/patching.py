"""What changes weights: patches on a pristine tensor, and which patches a module wants. Knows no files and no modules.

A changed weight is always calculated anew, `(pristine in float32 + deltas)` rounded once to the weight's type, so that
taking patches off leaves no trace (reference/model_layer.md). The forms that packs hand in are the ecosystem's.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias, cast, runtime_checkable

import torch
from torch import Tensor

from executor.inference.adapters import Adapter, Difference, adapter_of
from executor.inference.rounding import rounded
from executor.inference.seams import seam

logger = logging.getLogger("weft.inference")
Change: TypeAlias = Callable[[Tensor], Tensor]
Slice: TypeAlias = tuple[int, int, int]
PatchKey: TypeAlias = str | tuple[str, Slice] | tuple[str, Slice, Change]


@runtime_checkable
class ForeignAdapter(Protocol):
    """An adapter of a pack: it calculates the changed weight itself."""

    def calculate_weight(self, weight: Tensor, key: str, strength: float, *args: object, **kwargs: object) -> Tensor:
        """The changed weight."""
        ...


class WeightPatch(NamedTuple):
    """One change of one weight, in the order of fields that packs read."""

    strength: float
    value: object  # an Adapter, a tensor in a tuple, ("diff" | "set" | "lora" | …, parts), or [weight, *patches]
    strength_model: float = 1.0
    offset: Slice | None = None  # dimension, start, length of the part that is changed
    function: Change | None = None  # applied to the delta


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSet:
    """The patches of one module by the names of its weights; sets of one id are the same."""

    by_key: Mapping[str, Sequence[WeightPatch]] = field(default_factory=dict)
    id: uuid.UUID = field(default_factory=uuid.uuid4)

    def applied(self, key: str, pristine: Tensor) -> Tensor:
        """A weight with its patches, of the pristine one's type and on its device."""
        changed = calculate_weight(self.by_key[key], pristine.to(torch.float32, copy=True), key)
        return rounded(changed, pristine.dtype, key)


@seam("lora.calculate_weight")
def calculate_weight(
    patches: Iterable[Sequence[object]],
    weight: Tensor,
    key: str,
    intermediate_dtype: torch.dtype = torch.float32,
    original_weights: object = None,
) -> Tensor:
    """A float32 weight, which may be overwritten, after patches given as five-part tuples.

    The last two arguments are the ecosystem's and change nothing here.
    """
    for each in patches:
        patch = WeightPatch(*each)  # type: ignore[arg-type]  # packs build them
        part = weight if patch.offset is None else weight.narrow(*patch.offset)
        if patch.strength_model != 1.0:
            part *= patch.strength_model
        changed = changed_part(patch, part, key)
        if patch.offset is None:
            weight = changed
        else:
            part.copy_(changed)
    return weight


def changed_part(patch: WeightPatch, weight: Tensor, key: str) -> Tensor:
    """A float32 weight, or the part of one that a patch is for, after the patch."""
    value = patch.value
    if isinstance(value, list):  # a weight of another model with that model's own patches
        value = Difference(nested_weight(value, key))
    elif isinstance(value, ForeignAdapter):
        return value.calculate_weight(
            weight,
            key,
            patch.strength,
            patch.strength_model,
            patch.offset,
            patch.function or (lambda delta: delta),
            torch.float32,
            None,
        )
    adapter = value if isinstance(value, Adapter) else adapter_of(value, key)
    try:
        changed = adapter.changed(weight, patch.strength)
    except RuntimeError as error:  # torch's word for shapes that do not go together
        logger.warning("a patch does not fit %s of shape %s and is left out: %s", key, tuple(weight.shape), error)
        return weight
    return weight + patch.function(changed - weight) if patch.function else changed


def nested_weight(value: Sequence[object], key: str) -> Tensor:
    """The weight that `[weight or (weight, convert), *patches]` stands for, float32."""
    first = value[0]
    if isinstance(first, tuple):
        tensor, convert = cast("tuple[Tensor, Callable[..., Tensor]]", first)
        first = convert(tensor.to(torch.float32, copy=True), inplace=True)
    weight = cast(Tensor, first).to(torch.float32, copy=True)
    return calculate_weight(cast("Iterable[Sequence[object]]", value[1:]), weight, key)


def split_key(key: PatchKey) -> tuple[str, Slice | None, Change | None]:
    """The weight's name, the part of it, and the function on the delta that a patch's key asks for."""
    if isinstance(key, str):
        return key, None, None
    return key[0], key[1], key[2] if len(key) > 2 else None
