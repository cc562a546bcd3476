"""Tells in the log what was wrong with a refused prompt, and the nearest names. Knows no requests.

The answer's shapes are ComfyUI's and leave room for a suggestion only in a short list; the log has room for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from executor.contract.definition import InputDef, NodeDef
from executor.errors import nearest
from executor.files import Folders, split_root
from executor.graph.prompt import Prompt

LONGEST_LINE = 1000
SUGGESTED = "; did you mean "


def refusal_lines(
    node_errors: Mapping[str, object], prompt: Prompt, definitions: Mapping[str, NodeDef], folders: Folders
) -> Iterator[str]:
    """One line for each error of `node_errors` (the object of that name in the answer of POST /prompt)."""
    for node_id, told in node_errors.items():
        assert isinstance(told, dict)
        class_type = told["class_type"]
        given = prompt.nodes[node_id].inputs or {}
        inputs = {item.name: item for item in definitions[class_type].inputs}
        for error in told["errors"]:
            item = inputs.get(error["extra_info"].get("input_name"))
            hint = ""
            if item is not None and item.name in given and SUGGESTED not in error["details"]:
                hint = _suggestion(item, error["type"], given[item.name], folders)
            yield one_line(f"node {node_id} ({class_type}): {error['message']}: {error['details']}") + hint


def one_line(text: str) -> str:
    """A client's text as it may stand in the log: on one line, without control characters, of bounded length."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text[:LONGEST_LINE])
    return plain + " ..." if len(text) > LONGEST_LINE else plain


def _suggestion(item: InputDef, kind: str, value: object, folders: Folders) -> str:
    near: str | None = None
    if kind == "custom_validation_failed" and item.file_check:
        name, root = split_root(str(value))
        near = nearest(name, folders.files(root or "input"))
    return f"{SUGGESTED}{near!r}?" if near else ""
