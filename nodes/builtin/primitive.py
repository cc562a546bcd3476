"""Nodes that hold one value each. Know nothing else."""

import sys

from nodes.builtin.inputs import InputTypes, flag, text


class _Primitive:
    LISTING = "v3"
    PACK = "comfy_extras.nodes_primitive"
    CATEGORY = "utils/primitive"
    FUNCTION = "value"

    def value(self, value: object) -> tuple[object]:
        """The value as it is."""
        return (value,)


class PrimitiveString(_Primitive):
    """A line of text."""

    DISPLAY_NAME = "String"
    RETURN_TYPES = ("STRING",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"value": text(multiline=False)}}


class PrimitiveStringMultiline(_Primitive):
    """A text of several lines."""

    DISPLAY_NAME = "String (Multiline)"
    RETURN_TYPES = ("STRING",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"value": text(multiline=True)}}


class PrimitiveInt(_Primitive):
    """A whole number."""

    DISPLAY_NAME = "Int"
    RETURN_TYPES = ("INT",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        limits = {"min": -sys.maxsize, "max": sys.maxsize, "control_after_generate": True}
        return {"required": {"value": ("INT", limits)}}


class PrimitiveFloat(_Primitive):
    """A number."""

    DISPLAY_NAME = "Float"
    RETURN_TYPES = ("FLOAT",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"value": ("FLOAT", {"min": -sys.maxsize, "max": sys.maxsize})}}


class PrimitiveBoolean(_Primitive):
    """Yes or no."""

    DISPLAY_NAME = "Boolean"
    RETURN_TYPES = ("BOOLEAN",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"value": flag()}}


NODES = (PrimitiveString, PrimitiveStringMultiline, PrimitiveInt, PrimitiveFloat, PrimitiveBoolean)
