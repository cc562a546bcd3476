"""Advice that ends the message of a failed node: which node, which of its inputs, what would fit. Calls nothing.

It stands behind the line break after the exception's own text, where the ecosystem's clients expect a tip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from executor.contract.definition import NodeDef
from executor.errors import nearest
from executor.graph.dynamic import DynamicPrompt
from executor.graph.inputs import Items
from executor.graph.literals import unlinked_tip
from executor.graph.prompt import Link, is_link, link_of

_MISSING = re.compile(r"missing \d+ required (?:positional|keyword-only) arguments?: (.+)$")
_UNFIT = re.compile(r"must match|cannot be multiplied|not broadcastable|shape mismatch|is invalid for input of size")
_UNEXPECTED = re.compile(r"got an unexpected keyword argument '([^']*)'")


def advice(
    failure: BaseException,
    node_id: str,
    graph: DynamicPrompt,
    definition: NodeDef | None,
    values: Mapping[str, Items] = MappingProxyType({}),
) -> str:
    """Sentences that name the node and the inputs that may be to blame; "" if none stands out.

    `values` are what the node was called with.
    """
    if definition is None or not graph.has_node(node_id):
        return ""
    inputs = graph.inputs(node_id)
    found = [*_missing(failure, inputs, definition), *_unexpected(failure, definition)]
    found += [*_beyond(node_id, graph), *_empty(failure, node_id, graph, definition, values)]
    found += _unlike(failure, values)
    literal = unlinked_tip(definition, inputs)
    if literal:
        found.append(literal)
    return f"{named(node_id, graph)}: {' '.join(found)}" if found else ""


def named(node_id: str, graph: DynamicPrompt) -> str:
    """What people call a node: its title if it has one, its class, its id."""
    node = graph.get_node(node_id)
    told = node.get("_meta")
    title = told.get("title") if isinstance(told, Mapping) else None
    class_type = graph.class_type(node_id)
    place = f"#{node_id}"
    return f'"{title}" ({class_type}, {place})' if title and title != class_type else f"{class_type} ({place})"


def _missing(failure: BaseException, inputs: Mapping[str, object], definition: NodeDef) -> Iterator[str]:
    """Arguments that the function wanted and did not get, and undeclared inputs that look like them."""
    told = _MISSING.search(str(failure)) if isinstance(failure, TypeError) else None
    declared = {item.name for item in definition.inputs}
    for name in re.findall(r"'([^']+)'", told[1]) if told else ():
        if name in declared and name not in inputs:
            strange = nearest(name, [given for given in inputs if given not in declared])
            yield f"Its input {name!r} is not set{f'; did you mean it by {strange!r}?' if strange else '.'}"


def _unexpected(failure: BaseException, definition: NodeDef) -> Iterator[str]:
    """An argument that the function does not know, which came by an undeclared link."""
    told = _UNEXPECTED.search(str(failure)) if isinstance(failure, TypeError) else None
    if told and definition.input(told[1]) is None:
        near = nearest(told[1], [item.name for item in definition.inputs if item.kind != "hidden"])
        yield f"It has no input {told[1]!r}{f'; did you mean {near!r}?' if near else '.'}"


def _beyond(node_id: str, graph: DynamicPrompt) -> Iterator[str]:
    """Links to nodes that do not exist; they were passed as None."""
    known = graph.all_node_ids()
    for name, value in graph.inputs(node_id).items():
        if is_link(value) and not graph.has_node(link_of(value).node):
            link: Link = link_of(value)
            near = nearest(link.node, known)
            yield f"Its input {name!r} links node {link.node!r}, which does not exist{_or(near)}."


def _empty(
    failure: BaseException,
    node_id: str,
    graph: DynamicPrompt,
    definition: NodeDef,
    values: Mapping[str, Items],
) -> Iterator[str]:
    """Inputs whose link brought None where the function had use for something."""
    if not isinstance(failure, AttributeError | TypeError) or "NoneType" not in str(failure):
        return
    for name, value in graph.inputs(node_id).items():
        item = definition.input(name)
        if is_link(value) and graph.has_node(link_of(value).node) and item and list(values.get(name, ())) == [None]:
            yield f"Its input {name!r} is empty: {named(link_of(value).node, graph)} gave no {item.type}."


def _unlike(failure: BaseException, values: Mapping[str, Items]) -> Iterator[str]:
    """The shapes of what a node was given, where its arithmetic says that shapes do not fit together."""
    if not isinstance(failure, RuntimeError) or not _UNFIT.search(str(failure)):
        return
    found = {f"{name} {_shape(item)}" for name, items in values.items() for item in items if _shape(item)}
    if len(found) > 1:
        yield f"These inputs do not fit together: {', '.join(sorted(found))}."


def _shape(value: object) -> str:
    """The shape of an array, or of a latent's samples; "" for anything else."""
    array = value.get("samples") if isinstance(value, Mapping) else value
    shape = getattr(array, "shape", None)
    return " x ".join(map(str, shape)) if isinstance(shape, tuple) else ""


def _or(near: str | None) -> str:
    return f" (there is {near!r})" if near else ""
