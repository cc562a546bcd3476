"""What every typed input and output is made of. Knows no particular type and no schema.

Source of names, fields and option keys: reference/execution.md section 14.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import ClassVar, TypeVar, cast

Options = dict[str, object]

_Class = TypeVar("_Class", bound=type)


def filled(**options: object) -> Options:
    """The options that are set; enumeration members by their value."""
    return {name: plain_option(value) for name, value in options.items() if value is not None}


def plain_option(value: object) -> object:
    """An option as it is listed."""
    if isinstance(value, Enum):
        return value.value
    return value.as_dict() if hasattr(value, "as_dict") else value


class Input:
    """An input that only a link fills; `Parent` is the type it belongs to (`comfytype` sets it)."""

    Parent: ClassVar[type]

    def __init__(
        self,
        id: str,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        extra_dict: Mapping[str, object] | None = None,
        raw_link: bool | None = None,
        advanced: bool | None = None,
    ) -> None:
        self.id = id
        self.display_name = display_name
        self.optional = optional
        self.tooltip = tooltip
        self.lazy = lazy
        self.extra_dict: Options = dict(extra_dict or {})
        self.rawLink = raw_link
        self.advanced = advanced

    @property
    def io_type(self) -> str:
        """The type name."""
        return cast(str, getattr(type(self).Parent, "io_type", ""))

    def get_io_type(self) -> str:
        """The type name as listed."""
        return self.io_type

    def as_dict(self) -> Options:
        """The options as listed; what was not given is left out."""
        return {
            **filled(
                display_name=self.display_name,
                tooltip=self.tooltip,
                lazy=self.lazy,
                rawLink=self.rawLink,
                advanced=self.advanced,
            ),
            **{key: value for key, value in self.extra_dict.items() if value is not None},
        }


class WidgetInput(Input):
    """An input that people can also fill by hand."""

    def __init__(
        self,
        id: str,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        default: object = None,
        socketless: bool | None = None,
        widget_type: str | None = None,
        force_input: bool | None = None,
        extra_dict: Mapping[str, object] | None = None,
        raw_link: bool | None = None,
        advanced: bool | None = None,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, lazy, extra_dict, raw_link, advanced)
        self.default = default
        self.socketless = socketless
        self.widget_type = widget_type
        self.force_input = force_input

    def as_dict(self) -> Options:
        """The options as listed; what was not given is left out."""
        return super().as_dict() | filled(
            default=self.default,
            socketless=self.socketless,
            widgetType=self.widget_type,
            forceInput=self.force_input,
        )


class Output:
    """An output; `Parent` is the type it belongs to."""

    Parent: ClassVar[type]

    def __init__(
        self,
        id: str | None = None,
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:
        self.id = id
        self.display_name = display_name if display_name else id
        self.tooltip = tooltip
        self.is_output_list = is_output_list

    @property
    def io_type(self) -> str:
        """The type name."""
        return cast(str, getattr(type(self).Parent, "io_type", ""))

    def get_io_type(self) -> str:
        """The type name as listed."""
        return self.io_type


class ComfyTypeI:
    """A type that inputs can have."""

    io_type: ClassVar[str] = ""
    Type: ClassVar[object] = object

    class Input(Input):
        """An input of this type."""


class ComfyTypeIO(ComfyTypeI):
    """A type that inputs and outputs can have."""

    class Output(Output):
        """An output of this type."""


def comfytype(io_type: str, **more: object) -> Callable[[_Class], _Class]:
    """Decorate the class of a type: it learns its name, and its inputs and outputs whose they are."""

    def mark(cls: _Class) -> _Class:
        cls.io_type = io_type  # type: ignore[attr-defined]  # the classes of packs need not declare it
        for name, base in (("Input", Input), ("Output", Output)):
            wanted = getattr(cls, name, None if issubclass(cls, ComfyTypeI) else base)
            if wanted is None:
                continue
            if name not in vars(cls) or "Parent" in vars(wanted):  # inherited, or another type's: this one gets its own
                wanted = type(name, (wanted,), {"__module__": cls.__module__, "__doc__": wanted.__doc__})
                setattr(cls, name, wanted)
            setattr(wanted, "Parent", cls)  # noqa: B010  # mypy knows the nested classes of our own types only
        return cls

    return mark


def new_type(name: str, io_type: str) -> type[ComfyTypeIO]:
    """A type of its own, with inputs and outputs."""
    return comfytype(io_type=io_type)(type(name, (ComfyTypeIO,), {"__module__": __name__}))


def Custom(io_type: str) -> type[ComfyTypeIO]:  # noqa: N802  # the ecosystem's name
    """A type that a pack names."""
    return new_type(io_type.title().replace("_", "") or "Custom", io_type)
