"""`comfy.comfy_types.node_typing`: the type names and shapes that V1 packs annotate with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import ClassVar, Literal, TypedDict

from nodes import placeholders

__getattr__ = placeholders.fallback(__name__)


class IO(StrEnum):
    """Type names of inputs and outputs; unions and "*" match their members."""

    STRING = "STRING"
    IMAGE = "IMAGE"
    MASK = "MASK"
    LATENT = "LATENT"
    BOOLEAN = "BOOLEAN"
    INT = "INT"
    FLOAT = "FLOAT"
    COMBO = "COMBO"
    CONDITIONING = "CONDITIONING"
    SAMPLER = "SAMPLER"
    SIGMAS = "SIGMAS"
    GUIDER = "GUIDER"
    NOISE = "NOISE"
    CLIP = "CLIP"
    CONTROL_NET = "CONTROL_NET"
    VAE = "VAE"
    MODEL = "MODEL"
    LORA_MODEL = "LORA_MODEL"
    LOSS_MAP = "LOSS_MAP"
    CLIP_VISION = "CLIP_VISION"
    CLIP_VISION_OUTPUT = "CLIP_VISION_OUTPUT"
    STYLE_MODEL = "STYLE_MODEL"
    GLIGEN = "GLIGEN"
    UPSCALE_MODEL = "UPSCALE_MODEL"
    AUDIO = "AUDIO"
    WEBCAM = "WEBCAM"
    VIDEO = "VIDEO"
    POINT = "POINT"
    FACE_ANALYSIS = "FACE_ANALYSIS"
    BBOX = "BBOX"
    SEGS = "SEGS"
    ANY = "*"
    NUMBER = "FLOAT,INT"
    PRIMITIVE = "STRING,FLOAT,INT,BOOLEAN"

    def __ne__(self, other: object) -> bool:
        """Differ from what is no text, and from types of which neither side holds all of the other's."""
        if not isinstance(other, str):
            return True
        if "*" in (self.value, str.__str__(other)):
            return False
        ours, theirs = frozenset(self.value.split(",")), frozenset(str.__str__(other).split(","))
        return not (ours <= theirs or theirs <= ours)

    __hash__ = str.__hash__


class RemoteInputOptions(TypedDict, total=False):
    """Choices that the client fetches by itself."""

    route: str
    refresh_button: bool
    control_after_refresh: Literal["first", "last"]
    timeout: int
    max_retries: int
    refresh: int


class MultiSelectOptions(TypedDict, total=False):
    """How several choices are shown."""

    placeholder: str
    chip: bool


class InputTypeOptions(TypedDict, total=False):
    """The options of an input."""

    default: object
    defaultInput: bool
    forceInput: bool
    lazy: bool
    rawLink: bool
    tooltip: str
    socketless: bool
    widgetType: str
    label_on: str
    label_off: str
    min: float
    max: float
    step: float
    round: float
    multiline: bool
    placeholder: str
    dynamicPrompts: bool
    display: str
    control_after_generate: bool
    options: list[str | int | float]
    remote: RemoteInputOptions
    multi_select: MultiSelectOptions
    image_upload: bool
    image_folder: Literal["input", "output", "temp"]


class HiddenInputTypeDict(TypedDict, total=False):
    """Hidden inputs by name."""

    node_id: Literal["UNIQUE_ID"]
    unique_id: Literal["UNIQUE_ID"]
    prompt: Literal["PROMPT"]
    extra_pnginfo: Literal["EXTRA_PNGINFO"]
    dynprompt: Literal["DYNPROMPT"]


class InputTypeDict(TypedDict, total=False):
    """What INPUT_TYPES returns."""

    required: dict[str, tuple[IO, InputTypeOptions]]
    optional: dict[str, tuple[IO, InputTypeOptions]]
    hidden: HiddenInputTypeDict


class ComfyNodeABC(ABC):
    """A V1 node, for editors and type checkers."""

    DESCRIPTION: str
    CATEGORY: str
    EXPERIMENTAL: bool
    DEPRECATED: bool
    API_NODE: bool | None
    INPUT_IS_LIST: bool
    OUTPUT_IS_LIST: tuple[bool, ...]
    OUTPUT_NODE: bool
    RETURN_TYPES: ClassVar[tuple[IO | str, ...]]
    RETURN_NAMES: tuple[str, ...]
    OUTPUT_TOOLTIPS: tuple[str, ...]
    FUNCTION: str

    @classmethod
    @abstractmethod
    def INPUT_TYPES(cls) -> InputTypeDict:  # noqa: N802  # the contract's name
        """The inputs by section and name."""
        return {"required": {}}


class CheckLazyMixin:
    """A lazy check that asks for every input that is not there yet."""

    def check_lazy_status(self, **kwargs: object) -> list[str]:
        """The names of the inputs without a value."""
        return [name for name, value in kwargs.items() if value is None]


class FileLocator(TypedDict):
    """A file in a data folder."""

    filename: str
    subfolder: str
    type: Literal["input", "output", "temp"]
