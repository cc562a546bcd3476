"""Values written into inputs that only another node's output can fill. Validation lets them pass, as clients expect."""

from __future__ import annotations

import json
from collections.abc import Mapping

from executor.contract.definition import InputDef, NodeDef
from executor.graph.prompt import is_link

WRITABLE = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "*"})
LONGEST = 40


def unlinked_tip(definition: NodeDef, inputs: Mapping[str, object]) -> str:
    """A sentence that names the inputs of a failed node that hold a value instead of a link; "" if there are none."""
    wrong = [
        f"{item.name} is {_shortened(inputs[item.name])}"
        for item in definition.inputs
        if item.name in inputs and not is_link(inputs[item.name]) and _takes_links_only(item)
    ]
    if not wrong:
        return ""
    return f"Only the output of another node fits here, not a value: {', '.join(wrong)}."


def _takes_links_only(item: InputDef) -> bool:
    kinds = {kind.strip() for kind in item.type.split(",")}
    has_widget = '"default"' in (item.options_json or "")  # a pack's own type with a widget of its own
    return item.kind != "hidden" and item.choices is None and not has_widget and not kinds & WRITABLE


def _shortened(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
