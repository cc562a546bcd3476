"""Layers of networks whose compiled code is made beside the work and taken in between two samplings.

A region is one kind of layer at one size: equal layers, of any network, share one code, which takes their weights with
each call and so outlives weights that are moved or changed. Until it is there, and wherever it fails, layers compute
as ever. Knows no compiler.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeAlias, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from executor.inference.devices import is_out_of_memory
from executor.inference.hooks import Options
from executor.inference.unet_layers import BasicTransformerBlock, CrossAttention, Joined, ResBlock
from executor.inference.weights import first_line

logger = logging.getLogger("weft.inference")

KINDS: tuple[type[nn.Module], ...] = (ResBlock, BasicTransformerBlock)
LEAVES = ("torch.nn.", "executor.inference.unet_layers", "executor.inference.casting", "executor.inference.layout")
"""Where the classes of what may be compiled come from; packed and 8-bit layers keep what no call is given."""
MOST_REGIONS = 256  # that are asked for, of all networks and sizes
MOST_FAILURES = 3  # before any success: there is no compiler here

TensorForm: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], torch.dtype, str]
Form: TypeAlias = tuple[str, tuple[TensorForm, ...], tuple[TensorForm | None, ...]]
Code: TypeAlias = Callable[..., Sequence[Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Region:
    """What a compiler is told: a layer without numbers, and what its weights and its two inputs look like."""

    layer: nn.Module
    weights: tuple[TensorForm, ...]
    given: tuple[TensorForm | None, ...]


Build: TypeAlias = Callable[[Region], Code]
"""Makes a region's code, which takes the weights and the inputs that are tensors; called on a thread of its own."""


class Places:
    """Where a layer holds its weights; no weight itself, so that weights may go meanwhile."""

    def __init__(self, layer: nn.Module) -> None:
        modules = list(layer.modules())
        self.parameters = [(each._parameters, name) for each in modules for name in each._parameters]
        self.parameters = [(held, name) for held, name in self.parameters if held[name] is not None]
        self.joined = [each for each in modules if isinstance(each, CrossAttention) and each.is_joined()]

    def read(self) -> list[Tensor]:
        """The weights at present."""
        plain = [cast(Tensor, held[name]) for held, name in self.parameters]
        return plain + [cast(Joined, each.joined).whole for each in self.joined]

    def fill(self, weights: Sequence[Tensor]) -> None:
        """Put tensors in their places, in the order of `read`."""
        for (held, name), weight in zip(self.parameters, weights, strict=False):
            held[name] = cast(nn.Parameter, weight)
        for each, whole in zip(self.joined, weights[len(self.parameters) :], strict=True):
            parts = tuple(part.weight for part in (each.to_q, each.to_k, each.to_v))
            each.joined = Joined(whole, cast("tuple[nn.Parameter, nn.Parameter, nn.Parameter]", parts))


@dataclass(frozen=True, slots=True)
class Known:
    """What does not change of a layer while its weights do not."""

    places: Places
    kind: str
    forms: tuple[TensorForm, ...]


class Regions:
    """The compiled layers of one device. One thread samples; another, its own, has code made."""

    def __init__(self, build: Build) -> None:
        self.generation = 0  # grows whenever other code computes from now on
        self._build = build
        self._active: dict[Form, Code] = {}
        self._asked: set[Form] = set()
        self._known: WeakKeyDictionary[nn.Module, tuple[object, Known | None]] = WeakKeyDictionary()
        self._weights: Hashable = 0
        self._waiting: SimpleQueue[tuple[Form, Region]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # Of both threads:
        self.changed = threading.Condition()
        self.left = 0  # regions that are asked for and not there
        self._ready: dict[Form, Code] = {}
        self._failures = 0
        self._is_given_up = False

    def begin(self) -> None:
        """A sampling begins: take in what was made, once nothing more is waited for.

        All at once, so that pictures change their last digits once and not with each region.
        """
        with self.changed:
            if self.left or not self._ready:
                return
            made, self._ready = self._ready, {}
        self._active |= made
        self.generation += 1
        logger.info("%d compiled regions are used from now on", len(self._active))

    def of(self, weights: Hashable) -> Regions:
        """Itself, for a call of a network whose weights are in a state that `weights` names."""
        self._weights = weights
        return self

    def run(self, layer: nn.Module, x: Tensor, other: Tensor | None, options: Options) -> Tensor:
        """What a layer answers, by its region's code where that is in use."""
        known = self._knowledge(layer)
        if known is None:
            return layer(x, other, options)  # type: ignore[no-any-return]
        form = known.kind, known.forms, (form_of(x), None if other is None else form_of(other))
        code = self._active.get(form)
        if code is None:
            self._ask(form, layer)
            return layer(x, other, options)  # type: ignore[no-any-return]
        try:
            return code(*known.places.read(), *(each for each in (x, other) if each is not None))[0]
        except Exception as failure:
            if is_out_of_memory(failure):
                raise
            del self._active[form]
            self.generation += 1
            tell(layer, failure)
            return layer(x, other, options)  # type: ignore[no-any-return]

    def _knowledge(self, layer: nn.Module) -> Known | None:
        """Of a layer; None for one that is not compiled."""
        weights, known = self._known.get(layer, (None, None))
        if weights is None or weights != self._weights:
            known = known_of(layer) if can_compile(layer) else None
            self._known[layer] = self._weights, known
        return known

    def _ask(self, form: Form, layer: nn.Module) -> None:
        """Have a region's code made, once."""
        if form in self._asked or len(self._asked) >= MOST_REGIONS or self._is_given_up:
            return
        self._asked.add(form)
        with self.changed:
            self.left += 1
        self._waiting.put((form, Region(layer=without_numbers(layer), weights=form[1], given=form[2])))
        if self._thread is None:
            self._thread = threading.Thread(target=self._make, name="weft-regions", daemon=True)
            self._thread.start()

    def _make(self) -> None:
        """Make what is asked for, one after another."""
        while True:
            form, region = self._waiting.get()
            made: Code | None = None
            try:
                if not self._is_given_up:
                    made = self._build(region)
            except Exception as failure:  # noqa: BLE001  (whatever a compiler raises)
                self._count(region, failure)
            with self.changed:
                self.left -= 1
                if made is not None:
                    self._ready[form] = made
                self.changed.notify_all()

    def _count(self, region: Region, failure: Exception) -> None:
        tell(region.layer, failure)
        self._failures += 1
        if self._failures >= MOST_FAILURES and not self._ready and not self._active:
            self._is_given_up = True
            logger.warning("nothing more is compiled: the first %d regions could not be", MOST_FAILURES)


def tell(layer: nn.Module, failure: Exception) -> None:
    """One line in the log."""
    logger.warning("a %s is not compiled but computed as ever: %s", type(layer).__name__, first_line(failure))


def form_of(tensor: Tensor) -> TensorForm:
    """What code is made for."""
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, str(tensor.device)


def can_compile(layer: nn.Module) -> bool:
    """Whether a layer computes from its weights and inputs alone."""
    if type(layer) not in KINDS:
        return False
    modules = list(layer.modules())
    return all(f"{type(each).__module__}.".startswith(LEAVES) and not each._buffers for each in modules)


def known_of(layer: nn.Module) -> Known:
    """A layer's kind, its leaves and their sizes as text, and what its weights look like."""
    places = Places(layer)
    numbers = [
        {name: value for name, value in vars(each).items() if isinstance(value, bool | int | float)}
        for each in layer.modules()
    ]
    kind = f"{layer!r} {numbers} {len(places.joined)}"
    return Known(places, kind, tuple(form_of(weight) for weight in places.read()))


def without_numbers(layer: nn.Module) -> nn.Module:
    """A copy of a layer that takes no memory: its weights have shapes and no values."""
    memo: dict[int, object] = {}
    for weight in Places(layer).read():
        empty = torch.empty_like(weight, device="meta")
        memo[id(weight)] = nn.Parameter(empty, requires_grad=False) if isinstance(weight, nn.Parameter) else empty
    return copy.deepcopy(layer, memo)
