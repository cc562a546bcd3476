"""The one internal definition of a node, plain data that crosses processes. Knows no node classes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Literal

import msgspec

InputKind = Literal["required", "optional", "hidden"]


class Assembled(msgspec.Struct, frozen=True):
    """A choice that is there while files of a kind of model are, one whose name begins with each of `starts`."""

    name: str
    source: str
    starts: tuple[str, ...]


class FileChoices(msgspec.Struct, frozen=True, tag="files"):
    """A choice among the files of a model kind, or of the input folder, read fresh whenever it is asked for.

    `source` is a kind of model (`checkpoints`), or `input` for the top level of the input folder (`content` then
    limits it to media kinds or endings: image, video, audio, `.latent`, or a comma list; `folders` lists the folders
    there instead); `before`/`after` are fixed choices around them, and `assembled` follow the files.
    """

    source: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    content: str = ""
    assembled: tuple[Assembled, ...] = ()

    def sources(self) -> tuple[str, ...]:
        """Every kind of model whose files count."""
        return (self.source, *(each.source for each in self.assembled))


class FixedChoices(msgspec.Struct, frozen=True, tag="fixed"):
    """A choice among fixed values (texts mostly, any JSON scalar)."""

    values: tuple[str | int | float | bool | None, ...]


Choices = FileChoices | FixedChoices


class Growing(msgspec.Struct, frozen=True, tag="growing"):
    """Inputs that are there as they are needed: one like `template` under each of `names`, `minimum` at the least."""

    template: InputDef
    names: tuple[str, ...]
    minimum: int = 1


class Option(msgspec.Struct, frozen=True):
    """The inputs that choosing `key` brings."""

    key: str
    inputs: tuple[InputDef, ...]


class Choosing(msgspec.Struct, frozen=True, tag="choosing"):
    """Inputs that depend on which option is chosen."""

    options: tuple[Option, ...]


class Slotted(msgspec.Struct, frozen=True, tag="slotted"):
    """Inputs that are there while a slot is filled."""

    slot: InputDef
    inputs: tuple[InputDef, ...]


class InputDef(msgspec.Struct, frozen=True, kw_only=True):
    """One input: its name and type, and what the engine needs of its options.

    `type` is the listed type name ("*" for a type that says it matches everything); for a choice it is "COMBO", and
    `bare_choices` tells that the list itself stands in the place of the type.
    `options_json` is the options object as listed (JSON text), `{}` when the class gave an empty one and None when
    the class gave none. `file_check` says what kind of file ("image") an input names, as "name [root]", that must
    exist: the front checks it; empty for every other input. For a hidden input, `type` is what it is filled with.
    `dynamic` says which inputs it stands for, if it is none itself (`contract.concrete` puts them in its place); `path`
    is where the value of such an input belongs in what the node is called with. `own_type` is the listed name of a type
    that accepts others too ("FLOAT" of "FLOAT,INT"): values written into the prompt are converted to it.
    """

    name: str
    type: str
    kind: InputKind
    own_type: str = ""
    choices: Choices | None = None
    bare_choices: bool = False
    minimum: int | float | None = None
    maximum: int | float | None = None
    lazy: bool = False
    raw_link: bool = False
    file_check: str = ""
    options_json: str | None = None
    dynamic: Growing | Choosing | Slotted | None = None
    path: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The name for people: of an input that a dynamic one stands for, the last part."""
        return self.path[-1] if self.path else self.name


class OutputDef(msgspec.Struct, frozen=True, kw_only=True):
    """One output: shown name, type, and whether it yields a list of items.

    `choices` is set where the class gives a list of choices as the type; `type` is "COMBO" then.
    """

    name: str
    type: str
    choices: Choices | None = None
    is_list: bool = False
    tooltip: str | None = None


class NodeDef(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One node class as the engine, the front and the listings see it.

    `validator_inputs`: names that the class's own check takes (None: it has none; "**" in it: all); such inputs skip
    range and choice tests, and the worker is asked. The exact /object_info entry is made by `contract.wire`.
    `containers` are places in the call's arguments that hold a dict even if nothing is in it (`contract.concrete`).
    """

    name: str
    display_name: str
    category: str
    inputs: tuple[InputDef, ...]
    outputs: tuple[OutputDef, ...]
    is_output: bool = False
    is_async: bool = False
    takes_lists: bool = False
    has_lazy_check: bool = False
    has_fingerprint: bool = False
    not_idempotent: bool = False
    validator_inputs: tuple[str, ...] | None = None
    open_inputs: bool = False  # one of its dicts of inputs claims any name: undeclared literals pass
    any_other: InputDef | None = None  # what that dict says of a name that is not written in it
    contract: Literal["v1", "v3"] = "v1"  # the form of its listing
    by_schema: bool = False  # a V3 class: stateless, hidden values on the class
    is_dynamic: bool = False  # some input is
    containers: tuple[tuple[str, ...], ...] = ()
    pack: str = "nodes"  # listed as python_module
    description: str = ""
    deprecated: bool = False
    experimental: bool = False
    api_node: bool = False

    @cached_property
    def by_name(self) -> Mapping[str, InputDef]:
        """The declared inputs by name; of several the first."""
        return {item.name: item for item in reversed(self.inputs)}

    @cached_property
    def hidden_inputs(self) -> tuple[InputDef, ...]:
        """The inputs that the engine fills."""
        return tuple(item for item in self.inputs if item.kind == "hidden")

    @cached_property
    def call_inputs(self) -> Mapping[str, InputDef]:
        """The inputs that a call's arguments are of, by name; a V3 node finds hidden values on its class."""
        return {item.name: item for item in self.inputs if item.kind != "hidden" or not self.by_schema}

    @cached_property
    def names_its_id(self) -> bool:
        """Tell whether results depend on the node's id too: it is told it, or asks to be run for itself."""
        return self.not_idempotent or any(item.type == "UNIQUE_ID" for item in self.hidden_inputs)

    def input(self, name: str) -> InputDef | None:
        """The declared input of that name, or None."""
        return self.by_name.get(name)

    def told(self, name: str) -> InputDef | None:
        """What the class says of an input: as declared, or as its open dict says of any name; None if nothing."""
        return self.input(name) or self.any_other
