"""`comfy_execution.validation`: may a value of one type go into an input of another."""

from __future__ import annotations

from executor.contract.types import ANY, differs, may_link
from nodes import placeholders

__getattr__ = placeholders.fallback(__name__)


def validate_node_input(received_type: object, input_type: object, strict: bool = False) -> bool:
    """Tell whether a link fits; `strict` asks that every type received is taken, not only some."""
    if not (received_type != input_type):  # noqa: SIM202  # types of packs answer "!=" their own way
        return True
    if not (isinstance(received_type, str) and isinstance(input_type, str)):
        return False
    if not strict:
        return not differs(received_type, input_type) or may_link(received_type, input_type)
    taken = {part.strip() for part in input_type.split(",")}
    given = {part.strip() for part in received_type.split(",")}
    return ANY in taken | given or given <= taken
