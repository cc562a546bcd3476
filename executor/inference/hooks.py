"""The patch points of transformer_options: where packs change what a network's blocks compute. Knows no network.

Names, arguments and places are the ecosystem's (reference/model_layer.md; reference/custom_node_surface.md, "Object
protocols"): `patches` holds lists of functions by name, `patches_replace` functions by name and block, and a block is
("input", i), ("middle", 0) or ("output", i), with a third place for one transformer block within it.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from typing import Protocol, TypeAlias, TypeVar, cast

from torch import Tensor, nn

logger = logging.getLogger("weft.inference")

Options: TypeAlias = dict[str, object]
"""transformer_options: what goes with a network call for the patches that see it."""

Block: TypeAlias = tuple[str, int]
Patch: TypeAlias = Callable[..., Tensor]
TriplePatch: TypeAlias = Callable[..., tuple[Tensor, Tensor, Tensor]]
PairPatch: TypeAlias = Callable[..., tuple[Tensor, Tensor]]
Control: TypeAlias = Mapping[str, list[Tensor | None]]
"""What a ControlNet adds: features of "input", "middle" and "output" blocks; the last of a list is used first."""

REGIONS = "weft.regions"
"""What transformer_options call the compiled layers, in calls that run nothing but the network."""

Module = TypeVar("Module")


PAIRS = "output_block_patch"
"""The patch point before each output block, of its input and its skip connection."""


class PurePatch(ABC):
    """A patch of Weft's own for `PAIRS` whose answer follows from what it is given and its numbers, and nothing else.

    So calls of a network that runs it may be recorded and played back.
    """

    @property
    @abstractmethod
    def numbers(self) -> Hashable:
        """What tells it from others of its kind."""


def pure_patches(options: Mapping[str, object]) -> Hashable | None:
    """What tells calls apart that run different pure patches, () for none; None where there are patches of others."""
    tables = cast("Mapping[str, list[object]]", options.get("patches") or {})
    given = {name: held for name, held in tables.items() if held}
    if not given.keys() <= {PAIRS}:
        return None
    own = [patch for patch in given.get(PAIRS, []) if isinstance(patch, PurePatch)]
    whole = len(own) == len(given.get(PAIRS, []))
    return tuple((type(patch).__name__, patch.numbers) for patch in own) if whole else None


class LayerRunner(Protocol):
    """What runs layers in the network's stead."""

    def run(self, layer: nn.Module, x: Tensor, other: Tensor | None, options: Options) -> Tensor:
        """What a layer answers to x [B, ...] and what it takes beside it."""
        ...


def through(layer: nn.Module, x: Tensor, other: Tensor | None, options: Options) -> Tensor:
    """x [B, ...] through a layer that may be compiled; `other` is the time's embedding or the context."""
    runner = cast("LayerRunner | None", options.get(REGIONS))
    return layer(x, other, options) if runner is None else runner.run(layer, x, other, options)


def patches(options: Options, name: str) -> list[Patch]:
    """The functions that packs put at a patch point, in order."""
    named = cast("Mapping[str, list[Patch]]", options.get("patches") or {})
    return named.get(name, [])


def patched(options: Options, name: str, x: Tensor) -> Tensor:
    """x [B, ...] after the functions of a patch point that takes and gives one tensor."""
    for patch in patches(options, name):
        x = patch(x, options)
    return x


def replacement(options: Options, name: str) -> Patch | None:
    """What stands in for an attention of the present block, the whole block's or that of one transformer block."""
    everywhere = cast("Mapping[str, Mapping[object, Patch]]", options.get("patches_replace") or {})
    here = everywhere.get(name) or {}
    block = cast("Block | None", options.get("block"))
    if block is None or not here:
        return None
    return here.get((*block, options.get("block_index")), here.get(block))


def controlled(x: Tensor, control: dict[str, list[Tensor | None]] | None, side: str) -> Tensor:
    """x with the next feature that a ControlNet gives for this side; the feature is taken off its list.

    One that does not fit is left out, with a line in the log for each pair of shapes: some controls fit a part of
    another family's network.
    """
    left = control.get(side) if control else None
    if not left:
        return x
    feature = left.pop()
    if feature is None:
        return x
    if not spreads(feature.shape, x.shape):
        tell_misfit(tuple(feature.shape), side, tuple(x.shape))
        return x
    return x + feature.to(x.dtype)


@cache
def tell_misfit(shape: Sequence[int], side: str, over: Sequence[int]) -> None:
    """Log that features are left out: once, though each step of a sampling leaves them out."""
    told = "a control's features of shape %s do not fit the %s block's of shape %s and are left out there"
    scaled = len(shape) == len(over) and shape[:-2] == over[:-2]
    why = (
        "the model works at another size there, as Deep Shrink lets it" if scaled else "it was made for another family"
    )
    logger.warning(f"{told}: {why}", shape, side, over)


def spreads(shape: Sequence[int], over: Sequence[int]) -> bool:
    """Whether a tensor of a shape can be added to one of another, which keeps its shape."""
    pairs = zip(reversed(shape), reversed(over), strict=False)
    return shape == over or (len(shape) <= len(over) and all(side in (1, other) for side, other in pairs))
