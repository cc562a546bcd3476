"""Reads a V1 node class (INPUT_TYPES, RETURN_TYPES, FUNCTION ...) into the one internal definition. Calls no node.

Source of the contract: reference/execution.md section 13.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, cast

from executor.contract.definition import Choices, FixedChoices, InputDef, InputKind, NodeDef, OutputDef
from executor.contract.types import ANY, COMBO, FileList, matching_name, plain
from executor.contract.wire import options_text

_LARGEST, _SMALLEST = 2**64 - 1, -(2**63)

KINDS: tuple[InputKind, ...] = ("required", "optional", "hidden")
NO_NAME = "\x00no such input"  # held only by a dict that claims every name


def describe(name: str, cls: type, *, display_name: str | None = None, pack: str = "nodes") -> NodeDef:
    """The definition of a node class; raises what its INPUT_TYPES raises, TypeError when it is no node class.

    Two attributes are ours: FILE_CHECKS maps an input to the kind of file it names ({"image": "image"}), which is then
    checked without asking the class; LISTING = "v3" makes its /object_info entry take the newer form.
    """
    if not hasattr(cls, "INPUT_TYPES"):
        raise TypeError(f"{cls!r} is no node class: it has no INPUT_TYPES")
    declared: Mapping[str, object] = cls.INPUT_TYPES()
    function = getattr(cls, str(getattr(cls, "FUNCTION", "")), None)
    form: Literal["v1", "v3"] = "v3" if getattr(cls, "LISTING", "v1") == "v3" else "v1"
    return NodeDef(
        name=name,
        display_name=display_name or name,
        category=str(getattr(cls, "CATEGORY", "sd")),
        inputs=tuple(_inputs(cls, declared)),
        outputs=tuple(_outputs(cls)),
        is_output=getattr(cls, "OUTPUT_NODE", False) is True,
        is_async=inspect.iscoroutinefunction(function),
        takes_lists=bool(getattr(cls, "INPUT_IS_LIST", False)),
        has_lazy_check=hasattr(cls, "check_lazy_status"),
        has_fingerprint=hasattr(cls, "IS_CHANGED"),
        not_idempotent=bool(getattr(cls, "NOT_IDEMPOTENT", False)),
        validator_inputs=_validator_inputs(cls),
        open_inputs=any(_is_open(declared.get(kind)) for kind in KINDS),
        any_other=_any_other(declared),
        contract=form,
        pack=pack,
        description=str(getattr(cls, "DESCRIPTION", "")),
        deprecated=bool(getattr(cls, "DEPRECATED", False)),
        experimental=bool(getattr(cls, "EXPERIMENTAL", False)),
        api_node=bool(getattr(cls, "API_NODE", False)),
    )


def _inputs(cls: type, declared: Mapping[str, object]) -> Iterator[InputDef]:
    checks: Mapping[str, str] = getattr(cls, "FILE_CHECKS", {})
    for kind in KINDS:
        section = declared.get(kind)
        if not isinstance(section, Mapping):
            continue
        for name, entry in section.items():
            if kind == "hidden":
                yield InputDef(name=plain(name), type=_hidden_kind(entry), kind=kind)
            else:
                yield input_of(plain(name), kind, entry, checks.get(name, ""))


def input_of(name: str, kind: InputKind, entry: object, file_check: str = "") -> InputDef:
    """The definition of an input from its entry in INPUT_TYPES; TypeError for what is no entry."""
    written, options = _split(entry)
    choices = choices_of(written) if isinstance(written, list | tuple) else None
    bare = choices is not None
    if isinstance(written, str) and plain(written) == COMBO and isinstance(options.get("options"), list | tuple):
        choices = choices_of(options["options"])
    matching = matching_name(written) if isinstance(written, str) else COMBO
    own = plain(written) if isinstance(written, str) else COMBO
    return InputDef(
        name=name,
        type=matching,
        kind=kind,
        own_type=own if own != matching and matching != ANY else "",
        choices=choices,
        bare_choices=bare,
        minimum=_bound(options.get("min")),
        maximum=_bound(options.get("max")),
        lazy=bool(options.get("lazy", False)),
        raw_link=bool(options.get("rawLink", False)),
        file_check=file_check,
        options_json=None if _is_bare(entry) else options_text(options),
    )


def _split(entry: object) -> tuple[object, Mapping[str, object]]:
    """The type and the options of an input's entry, however short it is written."""
    if not isinstance(entry, tuple | list):
        return entry, {}
    if not entry:
        raise TypeError("an input is declared by an empty tuple; it must be (TYPE,) or (TYPE, options)")
    options = entry[1] if len(entry) > 1 else {}
    return entry[0], options if isinstance(options, Mapping) else {}


def _is_bare(entry: object) -> bool:
    return not isinstance(entry, tuple | list) or len(entry) < 2


def _hidden_kind(entry: object) -> str:
    if isinstance(entry, tuple | list):
        entry = entry[0] if entry else ""
    return plain(entry) if isinstance(entry, str) else str(entry)


def _outputs(cls: type) -> Iterator[OutputDef]:
    kinds = tuple(getattr(cls, "RETURN_TYPES", ()))
    names = tuple(getattr(cls, "RETURN_NAMES", kinds) or kinds)
    lists = tuple(getattr(cls, "OUTPUT_IS_LIST", ()) or ())
    tooltips = tuple(getattr(cls, "OUTPUT_TOOLTIPS", ()) or ())
    for index, kind in enumerate(kinds):
        is_text = isinstance(kind, str)
        yield OutputDef(
            name=_text(names[index] if index < len(names) else kind),
            type=matching_name(kind) if is_text else COMBO,
            choices=None if is_text else choices_of(kind),
            is_list=index < len(lists) and bool(lists[index]),
            tooltip=_text(tooltips[index]) if index < len(tooltips) and tooltips[index] is not None else None,
        )


def choices_of(values: object) -> Choices:
    """A list of choices as definitions keep it: by its files if it knows them, else its values as plain scalars."""
    if isinstance(values, FileList) and values.choices is not None:
        return values.choices
    if not isinstance(values, list | tuple):
        raise TypeError(f"a list of choices is expected, not {type(values).__name__}")
    return FixedChoices(values=tuple(_scalar(value) for value in values))


def _scalar(value: object) -> str | int | float | bool | None:
    match value:
        case None | bool():
            return value
        case str():
            return plain(value)
        case int():
            return int(value) if _SMALLEST <= value <= _LARGEST else float(value)
        case float():
            return float(value)
        case _:
            return str(value)


def _bound(value: object) -> int | float | None:
    """A limit as it fits into a message: integers beyond 64 bits become floats."""
    if isinstance(value, str) or value is None:
        return None
    bound = _scalar(value)
    return None if isinstance(bound, str) else bound


def _validator_inputs(cls: type) -> tuple[str, ...] | None:
    """The parameters of the class's own check, None if it has none or the declared file checks stand for it."""
    validator = getattr(cls, "VALIDATE_INPUTS", None)
    if validator is None or _owner(cls, "VALIDATE_INPUTS") is _owner(cls, "FILE_CHECKS"):
        return None
    return parameters_of(validator)


def parameters_of(validator: Callable[..., object]) -> tuple[str, ...] | None:
    """The inputs that a class's own check takes ("**": all); None if it takes none and so is never asked."""
    spec = inspect.signature(validator).parameters.values()
    names = tuple(item.name for item in spec if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY))
    if any(item.kind is item.VAR_KEYWORD for item in spec):
        return (*names, "**")
    return names or None


def _owner(cls: type, attribute: str) -> type | None:
    return next((base for base in cls.__mro__ if attribute in vars(base)), None)


def _is_open(section: object) -> bool:
    """Tell whether a dict of inputs claims to hold any name, as VideoHelperSuite (hidden) and rgthree (optional) do."""
    return isinstance(section, Mapping) and NO_NAME in section


def _any_other(declared: Mapping[str, object]) -> InputDef | None:
    """What the first open dict of inputs says of a name that is not written in it; None without one."""
    kind = next((kind for kind in KINDS if _is_open(declared.get(kind))), None)
    if kind is None:
        return None
    try:
        _, options = _split(cast(Mapping[str, object], declared[kind])[NO_NAME])
    except (LookupError, TypeError):  # it claims names and says nothing of them
        options = {}
    return InputDef(
        name="",
        type=ANY,
        kind=kind,
        lazy=bool(options.get("lazy", False)),
        raw_link=bool(options.get("rawLink", False)),
    )


def _text(value: object) -> str:
    return plain(value) if isinstance(value, str) else str(value)
