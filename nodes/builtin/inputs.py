"""How built-in nodes write down their inputs: short forms of the entries of INPUT_TYPES. Knows no node."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Self, TypeVar

from executor.contract.definition import FileChoices
from executor.contract.types import FileList
from executor.errors import NodeInputError

Entry = tuple[object, ...]
InputTypes = dict[str, dict[str, object]]

MAX_RESOLUTION = 16384
MAX_SEED = 0xFFFFFFFFFFFFFFFF
RESIZE_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
LATENT_RESIZE_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "bislerp"]
CROP_METHODS = ["disabled", "center"]
PNG_HIDDEN: Mapping[str, object] = MappingProxyType({"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"})


Held = TypeVar("Held")
BRINGS: Mapping[str, str] = MappingProxyType({"CLIP": "CLIPLoader", "VAE": "VAELoader"})


def held(part: Held | None, name: str, kind: str) -> Held:
    """A part of a checkpoint that an input needs; NodeInputError where the checkpoint has none (a part of None)."""
    if part is None:
        said = f"input {name!r}: the checkpoint it comes from holds no {kind}"
        raise NodeInputError(f"{said}; load one with {BRINGS[kind]}, or a checkpoint that has it")
    return part


class Either(str):
    """A type name that accepts others too: listed under its own, unequal to none of the others."""

    def __new__(cls, name: str, *others: str) -> Self:
        """A type called `name`."""
        made = super().__new__(cls, name)
        made.others = frozenset(others)
        return made

    others: frozenset[str]

    def __eq__(self, other: object) -> bool:
        """Equal to its own name and to those of the others."""
        return str.__eq__(self, other) or other in self.others

    def __ne__(self, other: object) -> bool:
        """The opposite of equal."""
        return not self == other

    __hash__ = str.__hash__


class AnyInput(dict[str, object]):
    """Hidden inputs of a node that is also given every input of a prompt that it does not declare."""

    def __contains__(self, name: object) -> bool:
        """Yes to every name."""
        return True


def socket(kind: str, tooltip: str | None = None) -> Entry:
    """An input that only takes a link."""
    return (kind,) if tooltip is None else (kind, {"tooltip": tooltip})


def integer(default: int, low: int, high: int, **options: object) -> Entry:
    """A whole number from `low` to `high`."""
    return ("INT", {"default": default, "min": low, "max": high, **options})


def decimal(default: float, low: float, high: float, step: float = 0.01, **options: object) -> Entry:
    """A number from `low` to `high`."""
    return ("FLOAT", {"default": default, "min": low, "max": high, "step": step, **options})


def pixels(default: int = 512, low: int = 1, step: int = 1, **options: object) -> Entry:
    """A length or position in pixels, up to the largest that is served."""
    return integer(default, low, MAX_RESOLUTION, step=step, **options)


def seed(tooltip: str | None = None) -> Entry:
    """A seed of random numbers, 64 bits without sign."""
    options: dict[str, object] = {"control_after_generate": True}
    return integer(0, 0, MAX_SEED, **(options if tooltip is None else {**options, "tooltip": tooltip}))


def choice(values: Sequence[str], **options: object) -> Entry:
    """One of fixed texts."""
    return (list(values), dict(options)) if options else (list(values),)


def combo(values: Sequence[str], **options: object) -> Entry:
    """One of fixed texts, listed in the newer form."""
    return ("COMBO", {"multiselect": False, "options": list(values), **options})


def files(source: str, *, content: str = "", **options: object) -> Entry:
    """One of the files of a model kind or (`source="input"`) of the input folder, listed fresh each time."""
    listed = FileList(FileChoices(source=source, content=content))
    return (listed, dict(options)) if options else (listed,)


def text(**options: object) -> Entry:
    """A text."""
    return ("STRING", dict(options))


def flag(**options: object) -> Entry:
    """Yes or no."""
    return ("BOOLEAN", dict(options))
