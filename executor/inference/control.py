"""What steers a network from beside it: a picture to follow, when and how strongly. Knows no network.

Method names and arguments are the ecosystem's (reference/custom_node_surface.md, "Object protocols", CONTROL_NET).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from executor.inference.crossing import number_of, sent
from executor.inference.pixels import common_upscale

if TYPE_CHECKING:
    from executor.inference.diffusion import DiffusionModel
    from executor.inference.vae import Vae

Features = dict[str, list[Tensor | None]]
"""What is added to the outputs of "input", "middle" and "output" blocks."""

Cond = Mapping[str, object]
SigmaOf = Callable[[float], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Some places of one dimension of latents."""

    dim: int  # 0: the batch
    indices: tuple[int, ...]
    count: int  # of places in all

    def places(self, device: torch.device) -> Tensor:
        """Its indices [n]."""
        return sent(torch.tensor(self.indices), device)

    def part(self, x: Tensor) -> Tensor:
        """Its part of latents."""
        return x.index_select(self.dim, self.places(x.device))

    def rows(self, value: Tensor) -> Tensor:
        """Its rows of a value [1 or B, ...]; fewer rows than the latents have are repeated."""
        if value.shape[0] == 1:
            return value
        places = torch.tensor([place % value.shape[0] for place in self.indices])
        return value.index_select(0, sent(places, value.device))

    def like(self, value: Tensor, x: Tensor) -> Tensor:
        """Its part of a value in the cells of latents x; the value where it is in none."""
        fits = value.ndim == x.ndim and value.shape[self.dim] == self.count
        return self.part(value) if fits else value

    def size(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the latents that x is its part of."""
        height, width = x.shape[-2:]
        axis = self.dim - x.ndim
        return (self.count if axis == -2 else height), (self.count if axis == -1 else width)

    def hint(self, hint: Tensor, x: Tensor, ratio: int) -> Tensor:
        """Its part of pictures [1 or B, C, H, W] of `ratio` pixels per cell, for latents x."""
        if self.dim == 0:
            return self.rows(hint)
        axis = self.dim - x.ndim
        if axis not in (-2, -1):  # frames within one latent, of which the pictures know nothing
            return hint
        pixels = [place * ratio + pixel for place in self.indices for pixel in range(ratio)]
        return hint.index_select(axis, sent(torch.tensor(pixels), hint.device))


class Control:
    """A control with its picture; several form a chain by `previous_controlnet`, all of which act."""

    compression_ratio: int = 8  # pixels per latent cell
    upscale_algorithm: str = "nearest-exact"

    def __init__(self) -> None:
        self.cond_hint_original: Tensor | None = None  # [B, C, H, W] in 0..1
        self.cond_hint: Tensor | None = None  # as the network is given it, for the size at hand
        self.strength = 1.0
        self.strength_type: Literal["constant", "linear up"] = "constant"
        self.timestep_percent_range = (0.0, 1.0)
        self.timestep_range: tuple[float, float] | None = None  # noise levels, the larger first
        self.global_average_pooling = False
        self.previous_controlnet: Control | None = None
        self.extra_conds: list[str] = []
        self.extra_args: dict[str, object] = {}
        self.vae: Vae | None = None
        self.concat_mask = False
        self.extra_concat_orig: list[Tensor] = []
        self.model: DiffusionModel | None = None
        self.window: Window | None = None  # what is seen of the latents at present; None: all

    # ---------------------------------------------------------------- what nodes say

    def copy(self) -> Control:
        """The same control to be set apart; weights are shared."""
        other = copy.copy(self)
        other.cond_hint, other.timestep_range, other.model = None, None, None
        other.extra_args = dict(self.extra_args)
        other.extra_concat_orig = list(self.extra_concat_orig)
        return other

    def copy_to(self, other: Control) -> None:
        """Give another control this one's settings; what it has of a sampling under way stays behind."""
        settings = set(vars(Control())) - {"previous_controlnet", "model", "cond_hint", "timestep_range", "window"}
        vars(other).update({name: value for name, value in vars(self).items() if name in settings})
        other.extra_args, other.extra_concat_orig = dict(self.extra_args), list(self.extra_concat_orig)

    def set_cond_hint(
        self,
        cond_hint: Tensor,
        strength: float = 1.0,
        timestep_percent_range: tuple[float, float] = (0.0, 1.0),
        vae: Vae | None = None,
        extra_concat: Sequence[Tensor] = (),
    ) -> Control:
        """Follow pictures [B, C, H, W] in 0..1 this strongly, from one share of the sampling to another."""
        self.cond_hint_original, self.strength = cond_hint, strength
        self.timestep_percent_range = timestep_percent_range
        self.vae = vae
        self.extra_concat_orig = list(extra_concat)
        return self

    def set_previous_controlnet(self, controlnet: Control | None) -> Control:
        """Let another control act too, before this one."""
        self.previous_controlnet = controlnet
        return self

    def set_extra_arg(self, argument: str, value: object = None) -> None:
        """Set something that this kind of control knows by name."""
        self.extra_args[argument] = value

    # ---------------------------------------------------------------- what sampling asks

    def pre_run(self, model: DiffusionModel, percent_to_timestep_function: SigmaOf) -> None:
        """Prepare for a sampling with this model."""
        start, end = self.timestep_percent_range
        self.timestep_range = (percent_to_timestep_function(start), percent_to_timestep_function(end))
        self.model = model
        if self.previous_controlnet is not None:
            self.previous_controlnet.pre_run(model, percent_to_timestep_function)

    def cleanup(self) -> None:
        """Forget what was prepared."""
        self.cond_hint, self.timestep_range, self.model = None, None, None
        if self.previous_controlnet is not None:
            self.previous_controlnet.cleanup()

    def get_control(
        self, x_noisy: Tensor, t: Tensor, cond: Cond, batched_number: int, transformer_options: Mapping[str, object]
    ) -> Features | None:
        """What the chain adds for latents x at sigmas t [B]; x holds `batched_number` conditions on end."""
        before = None
        if self.previous_controlnet is not None:
            before = self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, transformer_options)
        if not self.is_active(number_of(t)):
            return before
        return self.control_merge(self.features(x_noisy, t, cond, batched_number), before)

    def features(self, x_noisy: Tensor, t: Tensor, cond: Cond, batched_number: int) -> Features:
        """What this control adds at full strength."""
        raise TypeError(f"a {type(self).__name__} has to say what it adds")

    def is_active(self, sigma: float) -> bool:
        """Whether it acts at this noise level."""
        return self.timestep_range is None or self.timestep_range[0] >= sigma >= self.timestep_range[1]

    def control_merge(self, features: Features, before: Features | None) -> Features:
        """Its features at its strength, with those of the controls before it."""
        merged: Features = {"input": [], "middle": [], "output": []}
        for side, listed in features.items():
            merged[side] = [self._weighted(x, place, len(listed)) for place, x in enumerate(listed)]
        for side, listed in (before or {}).items():
            merged[side] = [added(mine, earlier) for mine, earlier in zip_longest(merged.get(side, []), listed)]
        return merged

    def _weighted(self, x: Tensor | None, place: int, count: int) -> Tensor | None:
        if x is None:
            return None
        if self.global_average_pooling:
            x = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
        return x * (self.strength if self.strength_type == "constant" else self.strength ** (count - place))

    # ---------------------------------------------------------------- pictures

    def hint_for(self, x: Tensor, batched_number: int) -> Tensor:
        """The picture for latents [B, C, h, w]: scaled to their size, one per row, on their device."""
        ratio = self.compression_ratio
        height, width = x.shape[-2:] if self.window is None else self.window.size(x)
        size = self.hint_size(height, width)
        if self.cond_hint is None or tuple(self.cond_hint.shape[-2:]) != size or self.cond_hint.device != x.device:
            self.cond_hint = sent(self.scaled_hint(size), x.device)
        seen = self.cond_hint if self.window is None else self.window.hint(self.cond_hint, x, ratio)
        return rows_like(seen, x.shape[0], batched_number)

    def hint_size(self, height: int, width: int) -> tuple[int, int]:
        """The picture's sides for latents of these sides."""
        return height * self.compression_ratio, width * self.compression_ratio

    def scaled_hint(self, size: tuple[int, int]) -> Tensor:
        """The picture [B, C, H, W] cut around its middle and scaled to (height, width)."""
        if self.cond_hint_original is None:
            raise ValueError("this control has no picture: use a node that applies one")
        hint = self.cond_hint_original
        if tuple(hint.shape[-2:]) != size:
            hint = common_upscale(hint, size[1], size[0], self.upscale_algorithm, "center")
        return hint.float()

    # ---------------------------------------------------------------- what packs ask

    def get_models(self) -> list[object]:
        """The networks of the chain."""
        return [] if self.previous_controlnet is None else self.previous_controlnet.get_models()

    def get_extra_hooks(self) -> list[object]:
        """None: ours have no hooks."""
        return []

    def inference_memory_requirements(self, dtype: torch.dtype) -> int:
        """Bytes the chain asks for beside the model's."""
        return 0 if self.previous_controlnet is None else self.previous_controlnet.inference_memory_requirements(dtype)


def added(mine: Tensor | None, earlier: Tensor | None) -> Tensor | None:
    """The sum of two features, either of which may be missing."""
    if mine is None or earlier is None:
        return earlier if mine is None else mine
    return mine + earlier


def rows_like(hint: Tensor, rows: int, batched_number: int) -> Tensor:
    """One picture per row: those given, repeated within each of the conditions that share a call."""
    if hint.shape[0] == 1:
        return hint.expand(rows, *hint.shape[1:])
    each = max(1, rows // batched_number)
    cut = hint[:each]
    cut = cut.repeat(math.ceil(each / cut.shape[0]), *([1] * (cut.ndim - 1)))[:each]
    return cut.repeat(math.ceil(rows / each), *([1] * (cut.ndim - 1)))[:rows]
