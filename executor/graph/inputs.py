"""Collects what a node is called with: results of linked nodes, literals and hidden values. Calls nothing.

Every value is a list of items (reference/execution.md section 6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from executor.contract.definition import NodeDef
from executor.graph.prompt import Link, is_link, link_of, unwrapped

Items = Sequence[object]

Lookup = Callable[[Link], "Items | None"]
"""The items of an output, or None if it was not computed or does not exist."""

NOT_COMPUTED: Items = (None,)


def no_results(link: Link) -> None:
    """The lookup for calls outside a run: nothing was computed."""


class Hidden(msgspec.Struct, frozen=True, kw_only=True):
    """What hidden inputs are filled with; the default is what a call outside a run gets."""

    prompt: Mapping[str, object] = msgspec.field(default_factory=dict)
    dynprompt: object = None
    extra_pnginfo: object = None
    secrets: Mapping[str, object] = msgspec.field(default_factory=dict)

    def fill(self, kind: str, node_id: str) -> Items | None:
        """The items for a hidden input of this kind; None for a kind that is not filled."""
        match kind:
            case "PROMPT":
                return [self.prompt]
            case "DYNPROMPT":
                return [self.dynprompt]
            case "EXTRA_PNGINFO":
                return [self.extra_pnginfo]
            case "UNIQUE_ID":
                return [node_id]
            case "AUTH_TOKEN_COMFY_ORG" | "API_KEY_COMFY_ORG":
                return [self.secrets.get(kind.lower())]
            case _:
                return None


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of one node by name; `missing` are the linked ones without a value, which stand as one None.

    `hidden` are a V3 node's hidden values, which it finds on its class; a V1 node's are among the inputs.
    """

    values: dict[str, Items]
    missing: frozenset[str]
    hidden: dict[str, object] = msgspec.field(default_factory=dict)


def gather(node_id: str, inputs: Mapping[str, object], definition: NodeDef, lookup: Lookup, hidden: Hidden) -> Gathered:
    """Collect a node's inputs; undeclared links are passed, undeclared literals dropped."""
    declared = definition.call_inputs
    values: dict[str, Items] = {}
    missing: set[str] = set()
    beside: dict[str, object] = {}
    for name, value in inputs.items():
        item = declared.get(name, definition.any_other)
        if is_link(value) and not (item is not None and item.raw_link):
            items = lookup(link_of(value))
            values[name] = NOT_COMPUTED if items is None else items
            if items is None:
                missing.add(name)
        elif item is not None or definition.open_inputs:
            values[name] = [unwrapped(value)]
    for item in definition.hidden_inputs:
        filled = hidden.fill(item.type, node_id)
        if filled is not None and definition.by_schema:
            beside[item.name] = filled[0]
        elif filled is not None:
            values[item.name] = filled
    return Gathered(values=values, missing=frozenset(missing), hidden=beside)


def arguments_of_calls(values: Mapping[str, Items], takes_lists: bool) -> list[dict[str, object]]:
    """The keyword arguments of every call that the lists of items make (reference/execution.md section 5).

    One call per item of the longest list, shorter lists repeat their last; one call for all if the node takes lists.
    IndexError for an empty list beside others.
    """
    if takes_lists:
        return [{name: items if isinstance(items, tuple) else list(items) for name, items in values.items()}]
    longest = max((len(items) for items in values.values()), default=0)
    if longest == 0:
        return [{}]
    for name, items in values.items():
        if not items:
            raise IndexError(f"input {name!r} is an empty list while another input has {longest} items")
    return [{name: items[min(index, len(items) - 1)] for name, items in values.items()} for index in range(longest)]
