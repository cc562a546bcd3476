"""Puts real inputs in the place of dynamic ones, by what a prompt fills, and their values into dicts. Calls no node.

Source: reference/execution.md section 14, "Dynamic inputs". It works from definitions alone, so the front can do it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

import msgspec

from executor.contract.definition import Choosing, FixedChoices, Growing, InputDef, InputKind, NodeDef, Slotted
from executor.contract.types import COMBO

Path = tuple[str, ...]

Leaf = Callable[[str, object], object]
"""What stands in a dict for the value of a dotted input."""


def concrete(definition: NodeDef, given: Mapping[str, object]) -> NodeDef:
    """The definition with the inputs that its dynamic ones are when a prompt fills those in `given`.

    Such inputs have dotted names ("images.image0"); one without dynamic inputs is returned as it is.
    """
    if not definition.is_dynamic:
        return definition
    containers: list[Path] = []
    inputs = [found for item in definition.inputs for found in _real(item, item.name, (item.name,), given, containers)]
    return msgspec.structs.replace(definition, inputs=tuple(inputs), containers=tuple(containers))


def nested(definition: NodeDef, arguments: Mapping[str, object], leaf: Leaf | None = None) -> dict[str, object]:
    """The arguments with the values of dotted inputs gathered in one dict per dynamic input.

    `definition` is one that `concrete` made; `leaf` replaces the values in the dicts.
    """
    if not definition.is_dynamic:
        return dict(arguments)
    paths = {item.name: item.path for item in definition.inputs if item.path}
    result: dict[str, object] = {}
    for path in definition.containers:
        _dict_at(result, path)
    for name, value in arguments.items():
        path = paths.get(name, ())
        if path:
            _dict_at(result, path[:-1])[path[-1]] = value if leaf is None else leaf(name, value)
        else:
            result[name] = value
    return result


def paired(name: str, value: object) -> tuple[object, str]:
    """A leaf for lazy checks: the value, and the name by which it can be asked for."""
    return value, name


def _dict_at(root: dict[str, object], path: Path) -> dict[str, object]:
    for part in path:
        root = cast("dict[str, object]", root.setdefault(part, {}))
    return root


def _real(
    item: InputDef, name: str, path: Path, given: Mapping[str, object], containers: list[Path]
) -> Iterator[InputDef]:
    """The inputs that one input is; `name` and `path` are its own, dots included."""
    match item.dynamic:
        case None:
            yield _placed(item, name, path)
        case Growing() as growing:
            containers.append(path)
            for child, key in _growing(growing, item.kind, name, given):
                yield from _real(child, f"{name}.{key}", (*path, key), given, containers)
        case Choosing(options=options):
            chosen = given.get(name)
            option = next((option for option in options if option.key == chosen), None)
            if option is None:
                return
            keys = FixedChoices(values=tuple(option.key for option in options))
            selector = msgspec.structs.replace(item, type=COMBO, choices=keys, dynamic=None)
            yield _placed(selector, name, (*path, path[-1]))
            for child in option.inputs:
                yield from _real(child, f"{name}.{child.name}", (*path, child.name), given, containers)
        case Slotted(slot=slot, inputs=inputs):
            yield _placed(_of_kind(slot, "optional"), name, (*path, path[-1]))
            if name in given:
                for child in inputs:
                    yield from _real(child, f"{name}.{child.name}", (*path, child.name), given, containers)


def _growing(
    growing: Growing, kind: InputKind, name: str, given: Mapping[str, object]
) -> Iterator[tuple[InputDef, str]]:
    """The inputs that are there: the first ones always, the others while something fills them or a part of them."""
    heads = {key[len(name) + 1 :] for key in given if key.startswith(f"{name}.")}
    needed = kind == "required" and growing.template.kind == "required"
    for index, key in enumerate(growing.names):
        must = index < growing.minimum
        if must or any(head == key or head.startswith(f"{key}.") for head in heads):
            yield _of_kind(growing.template, "required" if must and needed else "optional"), key


def _of_kind(item: InputDef, kind: InputKind) -> InputDef:
    return msgspec.structs.replace(item, kind=kind)


def _placed(item: InputDef, name: str, path: Path) -> InputDef:
    """An input under its dotted name; one that is in no dict (its path is its name) stays as it is."""
    return item if path == (item.name,) else msgspec.structs.replace(item, name=name, path=path)
