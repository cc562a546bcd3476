"""Inputs that are several: unions, agreeing types, growing lists, choices and slots that bring inputs of their own.

Source: reference/execution.md section 14, "Dynamic inputs". What they become in a prompt: `executor.contract.concrete`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import ClassVar

from executor.contract.types import MATCH_TYPE
from executor.contract.v3 import sockets
from executor.contract.v3.named import AnyType
from executor.contract.v3.sockets import ComfyTypeI, ComfyTypeIO, Input, Options, WidgetInput, comfytype, filled

MOST_GROWN = 100

Types = Sequence[type[ComfyTypeI]] | type[ComfyTypeI]


def union(types: Types) -> str:
    """The type name of several types, each named once."""
    members = types if isinstance(types, Sequence) else [types]
    names = [name for member in members for name in member.io_type.split(",")]
    return ",".join(dict.fromkeys(names))


def sections(inputs: Sequence[Input]) -> Options:
    """Inputs as listings show them: by section and name; `required` always stands."""
    listed: dict[str, Options] = {"required": {}}
    for item in inputs:
        section = "optional" if item.optional else "required"
        listed.setdefault(section, {})[item.id] = (item.get_io_type(), item.as_dict())
    return dict(listed)


@comfytype(io_type="COMFY_MULTITYPED_V3")
class MultiType(ComfyTypeI):
    """Any of several types."""

    class Input(sockets.Input):
        """An input of any of `types`; given as a widget input instead of an id, it keeps the widget."""

        def __init__(
            self,
            id: str | Input,
            types: Types,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            extra_dict: Mapping[str, object] | None = None,
            raw_link: bool | None = None,
            advanced: bool | None = None,
        ) -> None:
            self.input_override = copy.copy(id) if isinstance(id, Input) else None
            if isinstance(id, Input):
                display_name = id.display_name if display_name is None else display_name
                optional = id.optional or optional
                tooltip = id.tooltip if tooltip is None else tooltip
                lazy = id.lazy if lazy is None else lazy
                extra_dict = id.extra_dict if extra_dict is None else extra_dict
                raw_link = id.rawLink if raw_link is None else raw_link
                advanced = id.advanced if advanced is None else advanced
                id = id.id
            super().__init__(id, display_name, optional, tooltip, lazy, extra_dict, raw_link, advanced)
            self.io_types = types

        def get_io_type(self) -> str:
            """The union, the widget's own type first."""
            own = [self.input_override.io_type] if self.input_override is not None else []
            return ",".join(dict.fromkeys([*own, *union(self.io_types).split(",")]))

        def as_dict(self) -> Options:
            """The options as listed, with those of the widget."""
            widget: Options = {}
            if isinstance(self.input_override, WidgetInput):
                widget = self.input_override.as_dict() | {"widgetType": self.input_override.get_io_type()}
            return widget | super().as_dict()


@comfytype(io_type=MATCH_TYPE)
class MatchType(ComfyTypeIO):
    """A type that inputs and outputs with the same template share."""

    class Template:
        """What may be shared."""

        def __init__(self, template_id: str, allowed_types: Types = AnyType) -> None:
            self.template_id = template_id
            self.allowed_types = allowed_types

        def as_dict(self) -> Options:
            """The template as listed."""
            return {"template_id": self.template_id, "allowed_types": union(self.allowed_types)}

    class Input(sockets.Input):
        """An input of the shared type."""

        def __init__(
            self,
            id: str,
            template: MatchType.Template,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            extra_dict: Mapping[str, object] | None = None,
            raw_link: bool | None = None,
            advanced: bool | None = None,
        ) -> None:
            super().__init__(id, display_name, optional, tooltip, lazy, extra_dict, raw_link, advanced)
            self.template = template

        def as_dict(self) -> Options:
            """The options as listed."""
            return super().as_dict() | {"template": self.template.as_dict()}

    class Output(sockets.Output):
        """An output of the shared type."""

        def __init__(
            self,
            template: MatchType.Template,
            id: str | None = None,
            display_name: str | None = None,
            tooltip: str | None = None,
            is_output_list: bool = False,
        ) -> None:
            super().__init__(id, display_name, tooltip, is_output_list)
            self.template = template


class DynamicInput(Input):
    """An input that stands for others."""


class _GrowingTemplate:
    """One input that is repeated under several names."""

    def __init__(self, input: Input, names: Sequence[str], min: int) -> None:
        if isinstance(input, WidgetInput):
            input = copy.copy(input)
            input.force_input = True
        self.input = input
        self.names = list(names)[:MOST_GROWN]
        self.min = min

    def as_dict(self) -> Options:
        """The template as listed."""
        return {"input": sections([self.input])}


class TemplatePrefix(_GrowingTemplate):
    """Inputs named by a prefix and a number from 0."""

    def __init__(self, input: Input, prefix: str, min: int = 1, max: int = 10) -> None:
        if not 0 <= min <= max or max < 1:
            raise ValueError(f"a growing input needs 0 <= min <= max and max >= 1, not min {min} and max {max}")
        if max > MOST_GROWN:
            raise ValueError(f"a growing input has at most {MOST_GROWN} inputs, not {max}")
        super().__init__(input, [f"{prefix}{index}" for index in range(max)], min)
        self.prefix = prefix
        self.max = max

    def as_dict(self) -> Options:
        """The template as listed."""
        return super().as_dict() | {"prefix": self.prefix, "min": self.min, "max": self.max}


class TemplateNames(_GrowingTemplate):
    """Inputs with given names."""

    def __init__(self, input: Input, names: Sequence[str], min: int = 1) -> None:
        super().__init__(input, names, min)

    def as_dict(self) -> Options:
        """The template as listed."""
        return super().as_dict() | {"names": self.names, "min": self.min}


@comfytype(io_type="COMFY_AUTOGROW_V3")
class Autogrow(ComfyTypeI):
    """As many inputs of a kind as are linked; a node gets {name: value}."""

    Type: ClassVar[object] = dict[str, object]
    TemplatePrefix = TemplatePrefix
    TemplateNames = TemplateNames
    _MaxNames = MOST_GROWN

    class Input(DynamicInput):
        """The inputs `id.name`."""

        def __init__(
            self,
            id: str,
            template: _GrowingTemplate,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            extra_dict: Mapping[str, object] | None = None,
        ) -> None:
            super().__init__(id, display_name, optional, tooltip, lazy, extra_dict)
            self.template = template

        def as_dict(self) -> Options:
            """The options as listed."""
            return super().as_dict() | {"template": self.template.as_dict()}


class Option:
    """A choice and the inputs that it brings."""

    def __init__(self, key: str, inputs: Sequence[Input]) -> None:
        self.key = key
        self.inputs = list(inputs)

    def as_dict(self) -> Options:
        """The option as listed."""
        return {"key": self.key, "inputs": sections(self.inputs)}


@comfytype(io_type="COMFY_DYNAMICCOMBO_V3")
class DynamicCombo(ComfyTypeI):
    """A choice that brings inputs; a node gets {id: key, name: value}."""

    Type: ClassVar[object] = dict[str, object]
    Option = Option

    class Input(DynamicInput):
        """The choice `id`, and the inputs `id.name` of the option that was chosen."""

        def __init__(
            self,
            id: str,
            options: Sequence[Option],
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            extra_dict: Mapping[str, object] | None = None,
        ) -> None:
            super().__init__(id, display_name, optional, tooltip, lazy, extra_dict)
            self.options = list(options)

        def as_dict(self) -> Options:
            """The options as listed."""
            return super().as_dict() | {"options": [option.as_dict() for option in self.options]}


@comfytype(io_type="COMFY_DYNAMICSLOT_V3")
class DynamicSlot(ComfyTypeI):
    """A slot that brings inputs while it is filled; a node gets {id: value, name: value}."""

    Type: ClassVar[object] = dict[str, object]

    class Input(DynamicInput):
        """The slot, and the inputs `id.name`."""

        def __init__(
            self,
            slot: Input,
            inputs: Sequence[Input],
            display_name: str | None = None,
            tooltip: str | None = None,
            lazy: bool | None = None,
            extra_dict: Mapping[str, object] | None = None,
        ) -> None:
            super().__init__(slot.id, display_name or slot.display_name, True, tooltip, lazy, extra_dict)
            self.slot = copy.copy(slot)
            self.slot.optional = True
            if isinstance(self.slot, WidgetInput):
                self.slot.force_input = True
            self.inputs = list(inputs)

        def as_dict(self) -> Options:
            """The options as listed."""
            listed = filled(slotType=self.slot.get_io_type(), inputs=sections(self.inputs))
            return self.slot.as_dict() | super().as_dict() | listed
