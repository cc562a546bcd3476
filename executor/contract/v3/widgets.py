"""The types that people fill by hand, with the options of their inputs. Knows no schema.

Source of names, fields and option keys: reference/execution.md section 14.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

from executor.contract.v3 import sockets
from executor.contract.v3.sockets import ComfyTypeIO, Options, comfytype, filled, plain_option

Extra = Mapping[str, object]


class UploadType(StrEnum):
    """What a choice of files lets people upload."""

    image = "image_upload"
    audio = "audio_upload"
    video = "video_upload"
    model = "file_upload"
    file = "file_upload"


class FolderType(StrEnum):
    """The folders that files of clients lie in."""

    input = "input"
    output = "output"
    temp = "temp"


class NumberDisplay(StrEnum):
    """How a number is shown."""

    number = "number"
    slider = "slider"
    color = "color"
    gradient_slider = "gradientslider"


class ControlAfterGenerate(StrEnum):
    """What happens to a value after each prompt."""

    fixed = "fixed"
    increment = "increment"
    decrement = "decrement"
    randomize = "randomize"


@dataclass(slots=True)
class RemoteOptions:
    """A list of choices that the client fetches by itself."""

    route: str
    refresh_button: bool
    control_after_refresh: str = "first"
    timeout: int | None = None
    max_retries: int | None = None
    refresh: int | None = None

    def as_dict(self) -> Options:
        """The options as listed."""
        return filled(
            route=self.route,
            refresh_button=self.refresh_button,
            control_after_refresh=self.control_after_refresh,
            timeout=self.timeout,
            max_retries=self.max_retries,
            refresh=self.refresh,
        )


class _Widget(sockets.WidgetInput):
    """A widget whose own options are listed under the names in `OWN`: attribute, key."""

    OWN: tuple[tuple[str, str], ...] = ()

    def as_dict(self) -> Options:
        """The options as listed; what was not given is left out."""
        return super().as_dict() | filled(**{key: getattr(self, attribute) for attribute, key in self.OWN})


@comfytype(io_type="BOOLEAN")
class Boolean(ComfyTypeIO):
    """Yes or no."""

    Type = bool

    class Input(_Widget):
        """A switch."""

        OWN = (("label_on", "label_on"), ("label_off", "label_off"))

        def __init__(
            self,
            id: str,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: bool | None = None,
            label_on: str | None = None,
            label_off: str | None = None,
            socketless: bool | None = None,
            force_input: bool | None = None,
            extra_dict: Extra | None = None,
            raw_link: bool | None = None,
            advanced: bool | None = None,
        ) -> None:
            super().__init__(
                id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, extra_dict,
                raw_link, advanced,
            )  # fmt: skip
            self.label_on = label_on
            self.label_off = label_off


@comfytype(io_type="INT")
class Int(ComfyTypeIO):
    """A whole number."""

    Type = int

    class Input(_Widget):
        """A number field or slider."""

        OWN = (
            ("min", "min"), ("max", "max"), ("step", "step"),
            ("control_after_generate", "control_after_generate"), ("display_mode", "display"),
        )  # fmt: skip

        def __init__(
            self,
            id: str,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: int | None = None,
            min: int | None = None,
            max: int | None = None,
            step: int | None = None,
            control_after_generate: bool | ControlAfterGenerate | None = None,
            display_mode: NumberDisplay | None = None,
            socketless: bool | None = None,
            force_input: bool | None = None,
            extra_dict: Extra | None = None,
            raw_link: bool | None = None,
            advanced: bool | None = None,
        ) -> None:
            super().__init__(
                id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, extra_dict,
                raw_link, advanced,
            )  # fmt: skip
            self.min = min
            self.max = max
            self.step = step
            self.control_after_generate = control_after_generate
            self.display_mode = display_mode


@comfytype(io_type="FLOAT")
class Float(ComfyTypeIO):
    """A number."""

    Type = float

    class Input(_Widget):
        """A number field or slider."""

        OWN = (("min", "min"), ("max", "max"), ("step", "step"), ("round", "round"), ("display_mode", "display"))

        def __init__(
            self,
            id: str,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: float | None = None,
            min: float | None = None,
            max: float | None = None,
            step: float | None = None,
            round: float | bool | None = None,
            display_mode: NumberDisplay | None = None,
            gradient_stops: object = None,
            socketless: bool | None = None,
            force_input: bool | None = None,
            extra_dict: Extra | None = None,
            raw_link: bool | None = None,
            advanced: bool | None = None,
        ) -> None:
            super().__init__(
                id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, extra_dict,
                raw_link, advanced,
            )  # fmt: skip
            self.min = min
            self.max = max
            self.step = step
            self.round = round
            self.display_mode = display_mode
            self.gradient_stops = gradient_stops

        def as_dict(self) -> Options:
            """The options as listed; what was not given is left out."""
            return super().as_dict() | filled(gradient_stops=self.gradient_stops)


@comfytype(io_type="STRING")
class String(ComfyTypeIO):
    """Text."""

    Type = str

    class Input(_Widget):
        """A line or field of text."""

        OWN = (("multiline", "multiline"), ("placeholder", "placeholder"), ("dynamic_prompts", "dynamicPrompts"))

        def __init__(
            self,
            id: str,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            multiline: bool = False,
            placeholder: str | None = None,
            default: str | None = None,
            dynamic_prompts: bool | None = None,
            socketless: bool | None = None,
            force_input: bool | None = None,
            extra_dict: Extra | None = None,
            raw_link: bool | None = None,
            advanced: bool | None = None,
        ) -> None:
            super().__init__(
                id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, extra_dict,
                raw_link, advanced,
            )  # fmt: skip
            self.multiline = multiline
            self.placeholder = placeholder
            self.dynamic_prompts = dynamic_prompts


def values_of(options: Sequence[object] | type[Enum] | None) -> Sequence[object] | None:
    """The choices of a list, which is kept as it is (a list of files stays one), or of an enumeration."""
    if isinstance(options, type) and issubclass(options, Enum):
        return [member.value for member in options]
    if isinstance(options, list | tuple) and any(isinstance(option, Enum) for option in options):
        return [plain_option(option) for option in options]
    return options


@comfytype(io_type="COMBO")
class Combo(ComfyTypeIO):
    """One of several choices."""

    Type = str

    class Input(_Widget):
        """A list of choices: `options` is a list or an enumeration."""

        def __init__(
            self,
            id: str,
            options: Sequence[object] | type[Enum] | None = None,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: object = None,
            control_after_generate: bool | ControlAfterGenerate | None = None,
            upload: UploadType | None = None,
            image_folder: FolderType | None = None,
            remote: RemoteOptions | None = None,
            socketless: bool | None = None,
            extra_dict: Extra | None = None,
            raw_link: bool | None = None,
            advanced: bool | None = None,
        ) -> None:
            super().__init__(
                id, display_name, optional, tooltip, lazy, default, socketless, None, None, extra_dict, raw_link,
                advanced,
            )  # fmt: skip
            self.multiselect = False
            self.options = values_of(options)
            self.control_after_generate = control_after_generate
            self.upload = upload
            self.image_folder = image_folder
            self.remote = remote

        def as_dict(self) -> Options:
            """The options as listed; what was not given is left out."""
            listed = filled(
                multiselect=self.multiselect,
                options=self.options,
                control_after_generate=self.control_after_generate,
                image_folder=self.image_folder,
                remote=self.remote,
            )
            if self.upload is not None:
                listed[str(plain_option(self.upload))] = True
            return super().as_dict() | listed

    class Output(sockets.Output):
        """One of the choices; `options` are for readers of the schema."""

        def __init__(
            self,
            id: str | None = None,
            display_name: str | None = None,
            options: Sequence[object] | type[Enum] | None = None,
            tooltip: str | None = None,
            is_output_list: bool = False,
        ) -> None:
            super().__init__(id, display_name, tooltip, is_output_list)
            self.options = values_of(options) or []


@comfytype(io_type="COMBO")
class MultiCombo(ComfyTypeIO):
    """Any of several choices."""

    Type = list

    class Input(Combo.Input):
        """A list of choices of which several can be taken."""

        def __init__(
            self,
            id: str,
            options: Sequence[object] | type[Enum],
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: Sequence[object] | None = None,
            placeholder: str | None = None,
            chip: bool | None = None,
            control_after_generate: bool | ControlAfterGenerate | None = None,
            socketless: bool | None = None,
            extra_dict: Extra | None = None,
            raw_link: bool | None = None,
            advanced: bool | None = None,
        ) -> None:
            super().__init__(
                id, options, display_name, optional, tooltip, lazy, default, control_after_generate,
                socketless=socketless, extra_dict=extra_dict, raw_link=raw_link, advanced=advanced,
            )  # fmt: skip
            self.multiselect = True
            self.placeholder = placeholder
            self.chip = chip

        def as_dict(self) -> Options:
            """The options as listed; what was not given is left out."""
            chosen = filled(multi_select=self.multiselect, placeholder=self.placeholder, chip=self.chip)
            return super().as_dict() | chosen


@comfytype(io_type="WEBCAM")
class Webcam(ComfyTypeIO):
    """A picture that the client's camera takes."""

    Type = str

    class Input(_Widget):
        """A camera's picture."""
