"""What a CONDITIONING asks for at one latent size: where, when and how strongly each embedding counts.

Knows no network and no guidance scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast
from uuid import UUID, uuid4

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.condition_values import CONDConstant, CONDCrossAttn, CONDList, CONDNoiseShape, CONDRegular
from executor.inference.conditioning_hooks import HookGroup
from executor.inference.control import Control
from executor.inference.crossing import sent, sent_like
from executor.inference.denoiser import ModelSampling
from executor.inference.extras import Extra, Given, Situation
from executor.inference.hook_keyframes import sigma_of
from executor.inference.latent_masks import fitted_mask
from executor.inference.pixels import repeat_to
from executor.inference.values import Conditioning

Area = tuple[int, int, int, int]
"""Height, width, y, x in latent cells."""

# At borders inside the picture an area fades out over this share of its side, in whole cells (recorded behaviour:
# numeric/conditioning, cases sample/two_areas, area_gap and area_overhang, whose areas have sides of 8 to 19 cells).
FADED_SHARE = 1 / 4
SMALLEST_BOUNDS = 8
SPATIAL_DIMS = 4
CONTROL_TEXT = "cross_attn_controlnet"
"""The option that holds a text for ControlNets alone."""
VIDEO_SHARES = 6
TAKEN = (Tensor, int, str, list)
"""What values of packs may be that go to the network."""
RESOLVED = frozenset(
    {"area", "strength", "mask", "mask_strength", "set_area_to_bounds", "start_percent", "end_percent", "control"}
    | {"timestep_start", "timestep_end", "uuid", "hooks", "default"}
)
"""Options of a conditioning that have become fields of its condition."""


class EditedCondition(dict[str, object]):
    """A condition that a pack changes: a dictionary with the entries of the one it was copied from."""

    def copy(self) -> EditedCondition:
        """Another one with the same entries."""
        return EditedCondition(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Condition(Mapping[str, object]):
    """One embedding with its place, time and weight.

    Packs see it as the dictionary that they know: `model_conds` (what the network takes, by name), `strength`, `area`,
    `mask`, `mask_strength`, `timestep_start`, `timestep_end` (sigmas), `control`, `uuid` and what the conditioning had
    beside. Its `copy` may be changed and handed back (`conditions_of`).
    """

    context: Tensor  # [1 or B, T, C]
    area: Area | None = None
    strength: float = 1.0
    mask: Tensor | None = None  # [1 or B, H, W] in latent cells
    mask_strength: float = 1.0
    first_sigma: float = float("inf")
    last_sigma: float = 0.0
    control: Control | None = None
    hooks: HookGroup | None = None  # what holds while it is evaluated
    default: bool = False  # counts only as far as others of its side leave room
    options: Mapping[str, object] = field(default_factory=dict)
    extras: Mapping[str, Given] = field(default_factory=dict)  # what the network takes beside
    repeats: bool = True  # whether the text may be repeated, to share a call with a longer one
    uuid: UUID = field(default_factory=uuid4)

    def __getitem__(self, name: str) -> object:
        return self.entries()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries())

    def __len__(self) -> int:
        return len(self.entries())

    __eq__, __hash__ = object.__eq__, object.__hash__  # one embedding is not another, whatever they hold

    def copy(self) -> EditedCondition:
        """A dictionary of its entries, to be changed."""
        return EditedCondition(self.entries())

    def entries(self) -> dict[str, object]:
        """What packs see, made anew."""
        values: dict[str, object] = {name: _value(extra) for name, extra in self.extras.items()}
        values["c_crossattn"] = (CONDCrossAttn if self.repeats else CONDRegular)(self.context)
        kept = {name: value for name, value in self.options.items() if name not in RESOLVED}
        found = {**kept, "cross_attn": self.context, "model_conds": values, "strength": self.strength}
        told = {"area": self.area, "mask": self.mask, "control": self.control, "hooks": self.hooks}
        found |= {name: value for name, value in told.items() if value is not None}
        if self.mask is not None:
            found["mask_strength"] = self.mask_strength
        if self.first_sigma != float("inf"):
            found["timestep_start"] = self.first_sigma
        if self.last_sigma != 0.0:
            found["timestep_end"] = self.last_sigma
        if self.default:
            found["default"] = True
        return {**found, "uuid": self.uuid}

    @property
    def is_whole(self) -> bool:
        """Whether it counts in full in every cell."""
        return self.area is None and self.mask is None and self.strength == 1.0

    def active(self, sigma: float) -> bool:
        """Whether it counts at this noise level."""
        return self.last_sigma <= sigma <= self.first_sigma

    def crop(self, x: Tensor) -> Tensor:
        """Its part of a latent [B, C, H, W]."""
        if self.area is None:
            return x
        height, width, top, left = self.area
        return x[..., top : top + height, left : left + width]

    def extra(self, name: str, rows: int) -> Given:
        """One of `extras` for so many rows; one in the latents' cells is cut to the area."""
        value = self.extras[name]
        if isinstance(value, tuple):
            return tuple(repeated(each, rows) for each in value)
        if not isinstance(value, Tensor):
            return value
        return repeated(self.crop(value) if value.ndim >= SPATIAL_DIMS else value, rows)

    def on(self, device: torch.device) -> Condition:
        """The same with its tensors on a device, so that no step has to bring them there."""
        text = self.options.get(CONTROL_TEXT)
        options = {**self.options, CONTROL_TEXT: sent(text, device)} if isinstance(text, Tensor) else self.options
        return replace(
            self,
            context=sent(self.context, device),
            mask=None if self.mask is None else sent(self.mask, device),
            extras={name: given_on(value, device) for name, value in self.extras.items()},
            options=options,
        )

    def weight(self, x: Tensor) -> Tensor:
        """How much its answer counts in each cell of its area, [1 or B, 1, ..., h, w]; the same in each frame."""
        frames = (1,) * (x.ndim - SPATIAL_DIMS)
        whole = x.new_full((1, 1, *frames, *x.shape[-2:]), self.strength)
        if self.mask is not None:
            mask = sent_like(self.mask, x)
            whole = whole * mask.reshape(-1, 1, *frames, *mask.shape[-2:]) * self.mask_strength
        weight = self.crop(whole)
        if self.area is None or self.mask is not None:
            return weight
        height, width, top, left = self.area
        rows = _fade(x, height, before=top > 0, after=top + height < x.shape[-2])
        columns = _fade(x, width, before=left > 0, after=left + width < x.shape[-1])
        return weight * rows[:, None] * columns


def repeated(value: Tensor, rows: int) -> Tensor:
    """A tensor [1 or B, ...] for so many rows."""
    return value.repeat(-(-rows // value.shape[0]), *(1,) * (value.ndim - 1))[:rows]


def given_on(value: Given, device: torch.device) -> Given:
    """What a network takes beside, its tensors on a device."""
    if isinstance(value, tuple):
        return tuple(sent(each, device) for each in value)
    return sent(value, device) if isinstance(value, Tensor) else value


def _value(extra: Given) -> CONDRegular:
    """What a network takes beside, as packs see it."""
    if isinstance(extra, tuple):
        return CONDList(list(extra))
    if not isinstance(extra, Tensor):
        return CONDConstant(extra)
    return CONDNoiseShape(extra) if extra.ndim >= SPATIAL_DIMS else CONDRegular(extra)


def conditions_of(side: Iterable[Condition | Mapping[str, object]] | None) -> list[Condition]:
    """Conditions of one side, those that packs changed taken back; of None none."""
    return [each if isinstance(each, Condition) else _taken_back(each) for each in side or ()]


def _taken_back(entry: Mapping[str, Any]) -> Condition:
    """The condition that a dictionary of a pack tells; NodeInputError where it holds no embedding."""
    values = dict(entry.get("model_conds") or {})
    crossed = values.pop("c_crossattn", None)
    context = entry.get("cross_attn") if crossed is None else crossed.cond
    if not isinstance(context, Tensor):
        raise NodeInputError("a condition without an embedding (`c_crossattn` among its `model_conds`)")
    area = entry.get("area")
    return Condition(
        context=context,
        area=None if area is None else cast(Area, tuple(area)),
        strength=float(entry.get("strength", 1.0)),
        mask=entry.get("mask"),
        mask_strength=float(entry.get("mask_strength", 1.0)),
        first_sigma=float(entry.get("timestep_start", float("inf"))),
        last_sigma=float(entry.get("timestep_end", 0.0)),
        control=entry.get("control"),
        hooks=entry.get("hooks"),
        default=bool(entry.get("default", False)),
        options={name: value for name, value in entry.items() if name not in (*RESOLVED, "cross_attn", "model_conds")},
        extras={name: _given(value.cond) for name, value in values.items() if isinstance(value.cond, TAKEN)},
        repeats=crossed is None or isinstance(crossed, CONDCrossAttn),
    )


def _given(value: Any) -> Given:  # noqa: ANN401  (of TAKEN)
    """What a pack's dictionary holds for the network, as `Given`."""
    return tuple(value) if isinstance(value, list) else value


def _fade(x: Tensor, length: int, *, before: bool, after: bool) -> Tensor:
    """Weights [length] that rise from an inner border and fall to the other one."""
    weights = x.new_ones(length)
    cells = int(length * FADED_SHARE)
    ramp = torch.arange(1, cells + 1, dtype=x.dtype, device=x.device) / max(cells, 1)
    if before:
        weights[:cells] *= ramp
    if after:
        weights[length - cells :] *= ramp.flip(0)
    return weights


def resolve(conditioning: Conditioning, shape: torch.Size, sampling: ModelSampling) -> list[Condition]:
    """The conditions of a CONDITIONING for latents of `shape` [B, C, H, W].

    Raises NodeInputError when an area lies outside the picture.
    """
    return [_condition(entry[0], entry[1], shape, sampling) for entry in conditioning]


def _condition(context: object, options: object, shape: torch.Size, sampling: ModelSampling) -> Condition:
    if not isinstance(context, Tensor) or not isinstance(options, Mapping):
        raise NodeInputError("a conditioning has to be a list of [embedding, options]")
    size = (shape[-2], shape[-1])
    area = _area_in_cells(options["area"], size) if options.get("area") is not None else None
    mask = options.get("mask")
    if mask is not None:
        mask = fitted_mask(mask, size)
        mask = mask if len(mask) == 1 else repeat_to(mask, shape[0])
        if options.get("set_area_to_bounds"):
            area = _bounds(mask)
    condition = Condition(
        context=context,
        area=_clipped(area, size) if area is not None else None,
        strength=float(options.get("strength", 1.0)),
        mask=mask,
        mask_strength=float(options.get("mask_strength", 1.0)),
        control=options.get("control"),
        hooks=options.get("hooks"),
        default=bool(options.get("default")),
        options=options,
    )
    first, last = _range(options, sampling)
    return replace(condition, first_sigma=first, last_sigma=last)


def _range(options: Mapping[str, object], sampling: ModelSampling) -> tuple[float, float]:
    """The noise levels at which an entry counts: its own range within the span that its text was encoded for.

    Where one span of a text ends the next one begins, so that a level belongs to one of them only.
    """
    first, last = float("inf"), 0.0
    if options.get("start_percent") is not None:
        first = sigma_of(sampling.percent_to_sigma, cast(float, options["start_percent"]))
    if options.get("end_percent") is not None:
        last = sigma_of(sampling.percent_to_sigma, cast(float, options["end_percent"]))
    if options.get("clip_start_percent"):
        first = min(first, sigma_of(sampling.percent_to_sigma, cast(float, options["clip_start_percent"])))
    end = cast("float | None", options.get("clip_end_percent"))
    if end is not None and end < 1.0:
        last = max(last, math.nextafter(sigma_of(sampling.percent_to_sigma, end), math.inf))
    return first, last


def _area_in_cells(area: Sequence[object], size: tuple[int, int]) -> Area:
    if area[0] != "percentage":
        height, width, top, left = (int(str(value)) for value in area)
        return height, width, top, left
    shares = [float(str(value)) for value in area[1:]]
    if len(shares) == VIDEO_SHARES:  # of pictures, a share of the frames says nothing
        shares = [*shares[1:3], *shares[4:]]
    height, width, top, left = (round(share * size[place % 2]) for place, share in enumerate(shares))
    return max(height, 1), max(width, 1), top, left


def _bounds(mask: Tensor) -> Area:
    """The smallest area that holds every set cell of a mask [B, H, W], at least 8 cells each way."""
    set_cells = (mask != 0).any(dim=0).nonzero()
    if len(set_cells) == 0:
        return SMALLEST_BOUNDS, SMALLEST_BOUNDS, 0, 0
    (top, left), (bottom, right) = set_cells.amin(dim=0).tolist(), set_cells.amax(dim=0).tolist()
    return max(bottom - top + 1, SMALLEST_BOUNDS), max(right - left + 1, SMALLEST_BOUNDS), top, left


def _clipped(area: Area, size: tuple[int, int]) -> Area:
    height, width, top, left = area
    if top >= size[0] or left >= size[1]:
        raise NodeInputError(
            f"the area at x={left * 8}, y={top * 8} lies outside the picture of {size[1] * 8}x{size[0] * 8} pixels"
        )
    return min(height, size[0] - top), min(width, size[1] - left), top, left


def with_room(conditions: Sequence[Condition], x: Tensor) -> list[Condition]:
    """Those conditions of one side that count for latents x at present; default ones under a mask of what is left.

    What is left of a cell is one less the weights of the others there, and nothing where they come to one or more.
    """
    own = [each for each in conditions if not each.default]
    if len(own) == len(conditions):
        return own
    taken = torch.zeros_like(x[:, :1])
    for each in own:
        each.crop(taken).add_(each.weight(x))
    left = (1.0 - taken[:, 0]).clamp(min=0.0)  # [B, h, w]
    left = left if left.ndim < SPATIAL_DIMS else left[:, 0]  # weights are those of each frame
    if not bool(left.any()):
        return own
    masks = (left if each.mask is None else left * sent_like(each.mask, left) for each in conditions if each.default)
    defaults = (each for each in conditions if each.default)
    return own + [replace(each, mask=mask) for each, mask in zip(defaults, masks, strict=True)]


class Network(Protocol):
    """What a network is asked before it is called."""

    @property
    def extras(self) -> Sequence[Extra]:
        """What it takes beside latents, time and text."""
        ...

    @property
    def text_width(self) -> int | None:
        """Width of the text's tokens that it takes; None where nothing tells."""
        ...

    @property
    def repeats_text(self) -> bool:
        """Whether it answers the same to text whose tokens come several times."""
        ...


def completed(conditions: Iterable[Condition], network: Network, situation: Situation) -> list[Condition]:
    """The conditions with what the network takes beside latents, time and text.

    Raises NodeInputError for text of another width than the network takes, or conditioning that lacks something.
    """
    found = []
    for each in conditions:
        here = replace(situation, context=each.context)
        extras: dict[str, Given] = {}
        for extra in network.extras:
            extras |= extra(each.options, here)
        context = extras.pop("c_crossattn", each.context)
        assert isinstance(context, Tensor)
        if network.text_width not in (None, context.shape[-1]):
            widths = f"text of width {network.text_width}, and this conditioning has {context.shape[-1]}"
            reason = f"this model takes {widths}. Encode the text with the text encoder that belongs to the model"
            raise NodeInputError(reason)
        found.append(replace(each, context=context, extras=extras, repeats=network.repeats_text))
    return found


def with_controls(conditions: Iterable[Condition], others: Iterable[Condition]) -> list[Condition]:
    """The conditions of one side, those for the whole picture under the controls that the other side shares.

    A condition shares its control when it was applied to one side only (`control_apply_to_uncond`). Where more controls
    are shared than there are conditions, these come again under the others, so that every control acts on this side.
    """
    sharing = [each for each in others if each.area is None and each.options.get("control_apply_to_uncond")]
    shared = list(dict.fromkeys(each.control for each in sharing if each.control is not None))
    own = list(conditions)
    whole = [place for place, each in enumerate(own) if each.area is None and each.control is None]
    if not shared or not whole:
        return own
    again = [
        replace(own[whole[number % len(whole)]], control=shared[number]) for number in range(len(whole), len(shared))
    ]
    for place, control in zip(whole, shared * len(whole), strict=False):
        own[place] = replace(own[place], control=control)
    return own + again


def with_counterparts(conditions: Iterable[Condition], others: Iterable[Condition]) -> list[Condition]:
    """The conditions of one side, and one more for each area of the other side that they have no area like.

    Guidance compares like with like: an area's answer needs the other side's answer on the same crop. That is the
    other condition, with its strength, mask and range, under the embedding of this side's first condition for the
    whole picture; without one there is none. Recorded behaviour: numeric/conditioning, cases sample/two_areas and
    neg_area (calls_rows_shape: crops in pairs), area_strength (strength), mask_bounds (mask), two_areas_no_base (a
    whole picture asks for no counterpart). Not recorded: areas on both sides that overlap, and ranges of areas.
    """
    own = list(conditions)
    areas = {each.area for each in own}
    whole = next((each for each in own if each.area is None), None)
    if whole is None:
        return own
    missing = [other for other in others if other.area not in areas and other.area is not None]
    distinct = {other.area: other for other in reversed(missing)}
    return own + [replace(other, context=whole.context, options=whole.options) for other in distinct.values()]
