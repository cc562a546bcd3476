"""The node that shows any value as text. Knows no pictures."""

import json

from nodes.builtin.inputs import InputTypes


class PreviewAny:
    """Shows a value as text."""

    DISPLAY_NAME = "Preview Any"
    PACK = "comfy_extras.nodes_preview_any"
    CATEGORY = "utils"
    RETURN_TYPES = ()
    FUNCTION = "main"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"source": ("*", {})}}

    def main(self, source: object = None) -> dict[str, dict[str, tuple[str]]]:
        """Texts and numbers as they are, other values as JSON where they can be, else as Python writes them."""
        return {"ui": {"text": (as_text(source),)}}


def as_text(value: object) -> str:
    """A value as somebody wants to read it."""
    if value is None or isinstance(value, str | int | float | bool):
        return str(value)
    try:
        return json.dumps(value, indent=4)
    except (TypeError, ValueError, RecursionError):
        return str(value)


NODES = (PreviewAny,)
