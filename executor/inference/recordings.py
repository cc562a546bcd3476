"""A network's calls recorded on the device, one recording per shape of what it is given, and played back whole.

A recording holds the addresses of weights and inputs: it is void when weights change. Knows no network; the device's
own part is a `Recorder`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from executor.errors import Interrupted
from executor.inference.devices import is_out_of_memory
from executor.inference.weights import first_line

logger = logging.getLogger("weft.inference")

PLAIN_CALLS = 2  # of a shape before it is recorded: libraries choose and load what they use at the first ones
MOST_RECORDINGS = 8  # of one network; the longest unused goes
MOST_SHAPES = 64  # whose calls are counted


class Recorder(Protocol):
    """What records on a device."""

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """What plays `run` again, and where its answer then lies; nothing is computed yet.

        Raises whatever cannot be recorded raises.
        """
        ...

    def held_bytes(self) -> int:
        """Memory that recordings keep from everybody else."""
        ...

    def settle(self) -> None:
        """Wait until nothing plays any more: a recording is about to go."""
        ...

    def forget(self) -> None:
        """All recordings are gone, or none came about: give their memory back."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One recorded call: where its inputs are put, what plays it, and where its answer lies."""

    inputs: list[Tensor]
    play: Callable[[], None]
    answer: Tensor

    def played(self, given: Sequence[Tensor]) -> Tensor:
        """The answer for inputs of the recorded shapes; it is the caller's own."""
        torch._foreach_copy_(self.inputs, list(given))
        self.play()
        return self.answer.clone()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something was not recorded; without the error itself, which holds the failed call's tensors."""

    told: str
    lacks_memory: bool


class Recordings:
    """The recorded calls of one network."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.is_given_up = False  # something could not be recorded: it is not tried again
        self._kept: OrderedDict[Hashable, Recording] = OrderedDict()  # longest unused first
        self._calls: OrderedDict[Hashable, int] = OrderedDict()
        self._refused: set[Hashable] = set()  # forms for which memory ran out

    def __len__(self) -> int:
        return len(self._kept)

    def call(self, network: Callable[..., Tensor], given: Mapping[str, object], apart: Hashable = ()) -> Tensor:
        """What the network answers to named arguments: tensors, numbers, None, and lists and dictionaries of these.

        `apart` tells calls apart that compute something else with the same arguments.
        """
        tensors: list[Tensor] = []
        try:
            form = (apart, form_of(given, tensors))
        except TypeError:
            return network(**given)
        kept = self._kept.get(form)
        if kept is None and self._is_due(form):
            kept = self._recorded(network, given, form, tensors)
        if kept is None:
            return network(**given)
        self._kept.move_to_end(form)
        return kept.played(tensors)

    def clear(self) -> None:
        """Forget all: what they were made of is about to change."""
        self._calls.clear()
        self._refused.clear()
        if self._kept:
            self._drop()

    def _drop(self) -> None:
        self.recorder.settle()
        self._kept.clear()
        self.recorder.forget()

    def held_bytes(self) -> int:
        """Memory that the recordings keep from everybody else."""
        return self.recorder.held_bytes() if self._kept else 0

    def _is_due(self, form: Hashable) -> bool:
        """Whether a call of this form was made often enough to be recorded now."""
        if self.is_given_up or form in self._refused:
            return False
        calls = self._calls.pop(form, 0)
        self._calls[form] = calls + 1
        if len(self._calls) > MOST_SHAPES:
            self._calls.popitem(last=False)
        return calls >= PLAIN_CALLS

    def _recorded(
        self, network: Callable[..., Tensor], given: Mapping[str, object], form: Hashable, tensors: Sequence[Tensor]
    ) -> Recording | None:
        """A new recording; None, with a line in the log, where the call cannot be recorded."""
        made = self._attempt(network, given, tensors)
        if isinstance(made, Failure):
            self._give_up(form, made)  # here, where the failed call's tensors are let go
            return None
        if len(self._kept) >= MOST_RECORDINGS:
            self.recorder.settle()
            self._kept.popitem(last=False)
        self._kept[form] = made
        return made

    def _attempt(
        self, network: Callable[..., Tensor], given: Mapping[str, object], tensors: Sequence[Tensor]
    ) -> Recording | Failure:
        try:
            inputs = [torch.empty_like(each).copy_(each) for each in tensors]
            within = refilled(given, iter(inputs))
            play, answer = self.recorder.record(lambda: network(**within))
        except Interrupted:
            self._drop()
            raise
        except RuntimeError as failure:  # as CUDA and its allocator raise: it is computed as ever
            return Failure(first_line(failure), is_out_of_memory(failure))
        return Recording(inputs, play, answer)

    def _give_up(self, form: Hashable, failure: Failure) -> None:
        """Record nothing more; where memory ran out, nothing of this form until the weights change."""
        self._drop()
        self.is_given_up = not failure.lacks_memory
        self._refused.add(form)
        what = "this network's calls" if self.is_given_up else "a network's calls of this size"
        logger.warning("%s are not recorded as a CUDA graph but made one by one: %s", what, failure.told)


def form_of(value: object, tensors: list[Tensor]) -> Hashable:
    """What tells calls apart that need a recording each; the tensors within are put at the end of `tensors`.

    TypeError for what is none of a tensor on the device, a number, a text, None, and lists and dictionaries of these.
    """
    if isinstance(value, Tensor):
        if value.device.type == "cpu" and value.ndim == 0:
            raise TypeError("a number on the host, which a recording would keep")
        tensors.append(value)
        return (value.shape, value.stride(), value.dtype, value.device)
    if isinstance(value, Mapping):
        return ("{", *((name, form_of(held, tensors)) for name, held in value.items()))
    if isinstance(value, list | tuple):
        return ("[", *(form_of(held, tensors) for held in value))
    if value is None or isinstance(value, bool | int | float | str):
        return (type(value).__name__, value)
    raise TypeError(f"a {type(value).__name__} among a network's inputs")


def refilled(value: object, tensors: Iterator[Tensor]) -> Any:  # noqa: ANN401  (as the value)
    """The value with other tensors in the places of its own, in the order of `form_of`."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, Mapping):
        return {name: refilled(held, tensors) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [refilled(held, tensors) for held in value]
    return value
