"""Recorded calls of nodes in tests/data/numeric: inputs and outputs with their tensors filled in. Knows no node."""

from __future__ import annotations

from tests.maths.recordings import FOLDER, tensors

__all__ = ["FOLDER", "differences", "filled", "tensors"]


def filled(file: str, value: object) -> object:
    """A described value with tensors, latents and dictionaries in place of their descriptions."""
    match value:
        case {"$t": key}:
            return tensors(file)[key].clone()
        case {"$latent": parts} | {"$dict": parts}:
            return {name: filled(file, part) for name, part in parts.items()}
        case dict():
            return {name: filled(file, part) for name, part in value.items()}
        case list():
            return [filled(file, part) for part in value]
        case _:
            return value


def differences(actual: object, expected: object, tolerance: float) -> list[str]:
    """Where a result differs from the recorded one by more than `tolerance` (absolute), in words."""
    return list(_differences("", actual, expected, tolerance))


def _differences(place, actual, expected, tolerance):
    if hasattr(expected, "shape"):
        if actual.shape != expected.shape:
            yield f"{place}: shape {tuple(actual.shape)} instead of {tuple(expected.shape)}"
        elif expected.numel() and not float((actual - expected).abs().max()) <= tolerance:
            yield f"{place}: off by {float((actual - expected).abs().max())}"
    elif isinstance(expected, dict):
        if set(actual) != set(expected):
            yield f"{place}: keys {sorted(actual)} instead of {sorted(expected)}"
        for key in set(expected) & set(actual):
            yield from _differences(f"{place}.{key}", actual[key], expected[key], tolerance)
    elif isinstance(expected, list):
        if len(actual) != len(expected):
            yield f"{place}: {len(actual)} items instead of {len(expected)}"
        for index, (mine, theirs) in enumerate(zip(actual, expected, strict=False)):
            yield from _differences(f"{place}[{index}]", mine, theirs, tolerance)
    elif actual != expected:
        yield f"{place}: {actual!r} instead of {expected!r}"
