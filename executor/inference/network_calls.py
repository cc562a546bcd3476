"""Which conditions share a network call, and what such a call is given beside latents and noise level.

That is the same from step to step: a sampling keeps it. Knows neither the guidance's scale nor the network.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from executor.inference.condition_values import LONGEST_REPEAT
from executor.inference.conditions import CONTROL_TEXT, Condition
from executor.inference.crossing import sent
from executor.inference.extras import Given
from executor.inference.recordable import is_plain
from executor.inference.text_products import Room, TextProducts

if TYPE_CHECKING:
    from executor.inference.conditioning_hooks import Key

KNOWN_CALLS = "weft.calls"
"""What the options of one sampling call its `KnownCalls`."""
MOST_KNOWN = 4  # sets of conditions: those of all noise levels, where they begin and end on the way

Entry: TypeAlias = tuple[int, Condition]
"""A condition and the number of the side that it is of."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkCall:
    """Conditions that are evaluated together."""

    group: Sequence[Entry]
    context: Tensor  # [N * B, T, C], row below row
    extras: Mapping[str, Given]
    products: TextProducts | None = None  # what the network's layers made of the context, where that may be kept

    def forget(self) -> None:
        """It comes no more."""
        if self.products is not None:
            self.products.forget()

    @property
    def sides(self) -> list[int]:
        """The side of each condition."""
        return [side for side, _ in self.group]

    def latents(self, x: Tensor) -> Tensor:
        """The conditions' parts of latents [B, C, H, W], row below row."""
        return torch.cat([condition.crop(x) for _, condition in self.group])

    def control_texts(self, x: Tensor) -> dict[str, object]:
        """The texts that conditions have for ControlNets alone (CLIPTextEncodeControlnet), where any has one."""
        conditions = [condition for _, condition in self.group]
        own = [condition.options.get(CONTROL_TEXT) for condition in conditions]
        if not any(isinstance(each, Tensor) for each in own):
            return {}
        read = [
            replace(condition, context=text) if isinstance(text, Tensor) else condition
            for condition, text in zip(conditions, own, strict=True)
        ]
        return {"crossattn_controlnet": contexts(read, x)}


@dataclass(slots=True)
class KnownCalls:
    """The calls of a sampling's last steps."""

    room: Room = field(default_factory=Room)  # for what layers make of texts, in all of the calls together
    _kept: OrderedDict[tuple[object, ...], list[NetworkCall]] = field(default_factory=OrderedDict)

    def of(self, active: Sequence[Entry], x: Tensor) -> list[NetworkCall]:
        """The calls for conditions at latents like x; made once, while the same conditions come again."""
        key = (x.shape, x.dtype, x.device, *active)
        calls = self._kept.pop(key, None)
        if calls is None:
            calls = [replace(call, products=TextProducts(self.room)) for call in calls_of(active, x)]
        self._kept[key] = calls
        if len(self._kept) > MOST_KNOWN:
            for call in self._kept.popitem(last=False)[1]:
                call.forget()
        return calls


def calls_for(active: Sequence[Entry], x: Tensor, options: Mapping[str, object]) -> list[NetworkCall]:
    """The calls for conditions at latents like x; those that the options of a sampling know are not made anew."""
    known = options.get(KNOWN_CALLS)
    if isinstance(known, KnownCalls) and all(each.hooks is None for _, each in active):
        return known.of(active, x)
    return calls_of(active, x)


def runs_nothing_else(options: Mapping[str, object]) -> bool:
    """Whether a call under a MODEL's options runs none of a pack's code around the network or within it."""
    inner = options.get("transformer_options") or {}
    return not callable(options.get("model_function_wrapper")) and isinstance(inner, Mapping) and is_plain(inner)


def calls_of(active: Sequence[Entry], x: Tensor) -> list[NetworkCall]:
    """The calls for conditions at latents like x: crops of one size, embeddings of one width and like lengths."""
    found = []
    for group in groups_of(active, x):
        conditions = [condition for _, condition in group]
        extras = {
            name: joined([each.extra(name, x.shape[0]) for each in conditions], x) for name in conditions[0].extras
        }
        found.append(NetworkCall(group=group, context=contexts(conditions, x), extras=extras))
    return found


def groups_of(active: Sequence[Entry], x: Tensor) -> list[list[Entry]]:
    """Conditions that fit into one network call each, those under the same hooks next to each other."""
    groups: list[list[Entry]] = []
    for side, condition in active:
        for group in groups:
            if _fits(condition, [each for _, each in group], x):
                group.append((side, condition))
                break
        else:
            groups.append([(side, condition)])
    keys = list(dict.fromkeys(hook_key(condition) for _, condition in active))
    return sorted(groups, key=lambda group: keys.index(hook_key(group[0][1])))  # weights change as seldom as can be


def hook_key(condition: Condition) -> Key:
    """What tells the hooks of a condition from other ones'."""
    return () if condition.hooks is None else condition.hooks.key()


def _fits(condition: Condition, others: Sequence[Condition], x: Tensor) -> bool:
    if condition.crop(x).shape != others[0].crop(x).shape:
        return False
    if condition.context.shape[-1] != others[0].context.shape[-1] or condition.control is not others[0].control:
        return False
    if extra_shapes(condition) != extra_shapes(others[0]) or hook_key(condition) != hook_key(others[0]):
        return False
    lengths = {condition.context.shape[1], *(other.context.shape[1] for other in others)}
    if len(lengths) > 1 and not condition.repeats:
        return False
    return math.lcm(*lengths) <= LONGEST_REPEAT * min(lengths)


def extra_shapes(condition: Condition) -> dict[str, object]:
    """What a condition gives the network beside the text, and how large."""
    return {name: shape_of(condition.extra(name, 1)) for name in condition.extras}


def shape_of(value: Given) -> object:
    """How large a further input is, of which kind; one value for all rows is told itself."""
    if isinstance(value, tuple):
        return [each.shape for each in value]
    return value.shape if isinstance(value, Tensor) else value


def joined(values: Sequence[Given], like: Tensor) -> Given:
    """One further input of several conditions, row below row; one value is the same for all."""
    several = [value for value in values if isinstance(value, tuple)]
    if several:
        return tuple(rows_of(each, like) for each in zip(*several, strict=True))
    rows = [value for value in values if isinstance(value, Tensor)]
    return rows_of(rows, like) if rows else values[0]


def rows_of(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    """Tensors [B, ...] row below row, where latents are and in their type."""
    return sent(torch.cat(list(tensors)), like.device, like.dtype)


def contexts(conditions: Sequence[Condition], x: Tensor) -> Tensor:
    """The embeddings of conditions for every row of x; repeating tokens leaves cross-attention as it is."""
    length = math.lcm(*(condition.context.shape[1] for condition in conditions))
    rows = []
    for condition in conditions:
        text = condition.context
        copies = math.ceil(x.shape[0] / text.shape[0])
        rows.append(sent(text.repeat(copies, length // text.shape[1], 1)[: x.shape[0]], x.device))
    return torch.cat(rows)
