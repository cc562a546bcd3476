"""Puts the end of a prompt into the words clients know: success, error, interruption. Decides nothing.

Shapes: reference/http_api.md section 6, reference/execution.md section 9.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from executor.errors import DependencyCycle, UnsafePath, exit_words
from executor.graph.inputs import Items

Json = dict[str, object]


class Place(TypedDict):
    """Where a prompt ended: the submitted node and its class, and what ran before."""

    prompt_id: str
    node_id: str
    node_type: str
    executed: Sequence[str]


LONGEST_TEXT = 2000
PLAIN = (type(None), bool, int, float, str)  # what JSON knows
"""Characters of a value's text that an error shows."""


def now_ms() -> int:
    """Milliseconds since 1970, as events are stamped."""
    return int(time.time() * 1000)


def type_name(failure: BaseException) -> str:
    """The name of an exception's type with its module; builtins stand bare.

    A path that leaves its folder is told as a plain Exception: clients know it by that.
    """
    kind = Exception if isinstance(failure, UnsafePath) else type(failure)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def shown(value: object) -> object:
    """A value as an error shows it: plain scalars as they are, arrays by type, shape and dtype, the rest as text.

    An array of no dimensions, such as NumPy's numbers, is the scalar in it.
    """
    if type(value) in PLAIN:
        return value
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    try:
        if shape is not None and dtype is not None:
            scalar = value.item() if shape == () else value  # type: ignore[attr-defined]  # if not, it is told as below
            return scalar if type(scalar) in PLAIN else f"{type(value).__name__} {tuple(shape)} {dtype}"
        text = str(value)
    except Exception:  # noqa: BLE001  # border: an object of a pack may fail even at this
        return f"<{type(value).__name__}>"
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..."


def shown_inputs(values: Mapping[str, Items]) -> Json:
    """The inputs of a node as an error shows them."""
    return {name: [shown(item) for item in items] for name, items in values.items()}


def execution_error(
    failure: BaseException,
    place: Place,
    *,
    inputs: Mapping[str, Items],
    outputs: Iterable[str],
    tip: str = "",
) -> Json:
    """The data of `execution_error`; `tip` is a line of advice that ends the message."""
    is_cycle = isinstance(failure, DependencyCycle)
    message = str(failure) if is_cycle else f"{_words(failure, place)}\n{tip}"
    return {
        **_listed(place),
        "exception_message": message,
        "exception_type": "graph.DependencyCycleError" if is_cycle else type_name(failure),
        "traceback": [] if is_cycle else traceback.format_tb(failure.__traceback__),
        "current_inputs": [] if is_cycle else shown_inputs(inputs),
        "current_outputs": list(outputs),
        "timestamp": now_ms(),
    }


def _words(failure: BaseException, place: Place) -> str:
    if isinstance(failure, SystemExit | KeyboardInterrupt):
        return f"node {place['node_id']} ({place['node_type']}) ended by {exit_words(failure)}"
    return str(failure)


def execution_interrupted(place: Place) -> Json:
    """The data of `execution_interrupted`."""
    return {**_listed(place), "timestamp": now_ms()}


def execution_blocked(message: str, place: Place) -> Json:
    """The data of the `execution_error` that tells of a blocked node; the prompt goes on."""
    return {
        **_listed(place),
        "exception_message": f"Execution Blocked: {message}",
        "exception_type": "ExecutionBlocked",
        "traceback": [],
        "current_inputs": [],
        "current_outputs": [],
    }


def _listed(place: Place) -> Json:
    return {**place, "executed": list(place["executed"])}
