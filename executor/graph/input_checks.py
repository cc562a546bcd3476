"""Checks one node's inputs against its definition, without running anything. Knows no other node but those it links.

Error shapes: reference/http_api.md section 3; rules: reference/execution.md section 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from executor.contract.choices import listed
from executor.contract.concrete import concrete
from executor.contract.definition import InputDef, NodeDef, OutputDef
from executor.contract.types import COMBO, may_link
from executor.contract.uploads import is_stored, upload_kind
from executor.contract.wire import fill
from executor.errors import UnsafePath, nearest
from executor.files import Folders
from executor.graph.prompt import Link, Prompt, is_finite, is_link, unwrapped

Error = dict[str, object]

FOREIGN_PATH = " (a path of another machine; upload the file first, then give its name)"
LONGEST_LIST_SHOWN = 20
MOST_COMPARED = 500  # comparing takes some 20 microseconds each, on the event loop
LONGEST_ECHO = 5000
AS_IT_IS = {"INT": int, "STRING": str, "BOOLEAN": bool}
"""What a value of a type is in most prompts: then there is nothing to convert."""


@dataclass(slots=True, kw_only=True)
class Checked:
    """What was found at one node: its own errors, its inputs after conversion, and the links worth following.

    `failure` is the exception that ended the node's checks early.
    """

    errors: list[Error] = field(default_factory=list)
    values: dict[str, object] = field(default_factory=dict)
    changed: bool = False
    sources: list[tuple[InputDef, Link]] = field(default_factory=list)
    received: dict[str, str] = field(default_factory=dict)
    failure: Exception | None = None


@dataclass(frozen=True, slots=True)
class InputChecker:
    """Checks nodes of one prompt."""

    prompt: Prompt
    definitions: Mapping[str, NodeDef]
    folders: Folders

    def check(self, node_id: str) -> Checked:
        """Check every declared input of a node but the hidden ones, in order."""
        node = self.prompt.nodes[node_id]
        checked = Checked()
        if node.inputs is None:
            checked.failure = KeyError("the node has no inputs")
            return checked
        definition = self.definition(node_id)
        checked.values = dict(node.inputs)
        for item in definition.inputs:
            if item.kind == "hidden":
                continue
            try:
                error = self._input(item, definition, checked)
            except (LookupError, TypeError, ValueError) as failure:
                checked.errors.clear()
                checked.failure = failure
                return checked
            if error is not None:
                checked.errors.append(error)
        return checked

    def definition(self, node_id: str) -> NodeDef:
        """The definition of a node, with the inputs that its dynamic ones are here."""
        node = self.prompt.nodes[node_id]
        return concrete(self.definitions[node.class_type], node.inputs or {})

    def config(self, item: InputDef) -> list[object]:
        """The input's `[type, options]` as the errors show it."""
        options = fill(json.loads(item.options_json), self.folders) if item.options_json else {}
        kind: object = item.own_type or item.type
        if item.bare_choices and item.choices is not None:
            kind = listed(item.choices, self.folders)
        return [kind, options]

    def _input(self, item: InputDef, definition: NodeDef, checked: Checked) -> Error | None:
        if item.name not in checked.values:
            if item.kind == "optional":
                return None
            return make_error(
                "required_input_missing", "Required input is missing", item.shown, {"input_name": item.name}
            )
        value = checked.values[item.name]
        if isinstance(value, list):
            return self._link(item, value, definition, checked)
        return self._literal(item, value, definition, checked)

    # ---------------------------------------------------------------- links

    def _link(self, item: InputDef, value: list[object], definition: NodeDef, checked: Checked) -> Error | None:
        if len(value) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return make_error("bad_linked_input", message, item.shown, self._info(item, received_value=value))
        link, output = self._source(value)
        received: object = output.type if output.choices is None else listed(output.choices, self.folders)
        checked.received[item.name] = str(received)
        decides_itself = definition.validator_inputs is not None and "input_types" in definition.validator_inputs
        if not decides_itself and not self._matches(output, item):
            declared = self.config(item)[0]
            return make_error(
                "return_type_mismatch",
                "Return type mismatch between linked nodes",
                f"{item.shown}, received_type({received}) mismatch input_type({declared})",
                self._info(item, received_type=received, linked_node=value),
            )
        checked.sources.append((item, link))
        return None

    def _source(self, value: list[object]) -> tuple[Link, OutputDef]:
        node_id, slot = value
        if not isinstance(node_id, str) or node_id not in self.prompt.nodes:
            raise KeyError(f"there is no node {node_id!r} to link to")
        if not isinstance(slot, int):
            raise TypeError(f"an output slot is a whole number, not {slot!r}")
        source = self.prompt.nodes[node_id]
        outputs = self.definitions[source.class_type].outputs
        if not -len(outputs) <= slot < len(outputs):
            have = "1 output" if len(outputs) == 1 else f"{len(outputs)} outputs"
            raise IndexError(f"node {node_id!r} ({source.class_type}) has {have}; there is no slot {slot}")
        return Link(node_id, slot), outputs[slot]

    def _matches(self, output: OutputDef, item: InputDef) -> bool:
        if output.choices is None and not item.bare_choices:
            return may_link(output.type, item.type)
        if output.choices is not None and item.bare_choices and item.choices is not None:
            return listed(output.choices, self.folders) == listed(item.choices, self.folders)
        if output.choices is not None:
            return may_link(COMBO, item.type)
        return output.type == "*"

    # ---------------------------------------------------------------- literals

    def _literal(self, item: InputDef, value: object, definition: NodeDef, checked: Checked) -> Error | None:
        kind = item.own_type or item.type
        if type(value) is not AS_IT_IS.get(kind):
            try:
                value = _taken(item, kind, value, checked)
            except (ValueError, TypeError, OverflowError) as failure:
                content = unwrapped(value)
                return make_error(
                    "invalid_input_type",
                    f"Failed to convert an input value to a {kind} value",
                    f"{item.shown}, {_echo(str(content))}, {failure}",
                    self._info(item, received_value=_echo(content), exception_message=str(failure)),
                )
        if item.file_check:
            return self._file(item, value)
        if takes(definition.validator_inputs, item):
            return None
        return self._range(item, value) or self._choice(item, value)

    def _range(self, item: InputDef, value: object) -> Error | None:
        if item.minimum is None and item.maximum is None:
            return None
        if not isinstance(value, int | float):
            raise TypeError(f"input {item.name!r} has limits, but {value!r} is no number")
        if item.minimum is not None and value < item.minimum:
            message = f"Value {value} smaller than min of {item.minimum}"
            return make_error("value_smaller_than_min", message, item.shown, self._info(item, received_value=value))
        if item.maximum is not None and value > item.maximum:
            message = f"Value {value} bigger than max of {item.maximum}"
            return make_error("value_bigger_than_max", message, item.shown, self._info(item, received_value=value))
        return None

    def _choice(self, item: InputDef, value: object) -> Error | None:
        if item.choices is None:
            return None
        choices = listed(item.choices, self.folders)
        if all(part in choices for part in (value if isinstance(value, list) else [value])):
            return None
        if is_stored(item, value):
            return self._file(item, value)
        is_long = len(choices) > LONGEST_LIST_SHOWN
        shown = f"(list of length {len(choices)})" if is_long else str(choices)
        near = nearest(str(value), _comparable(str(value), choices))
        details = f"{item.shown}: '{_echo(str(value))}' not in {shown}" + (f"; did you mean {near!r}?" if near else "")
        config = None if is_long else self.config(item)
        info: Error = {"input_name": item.name, "input_config": config, "received_value": _echo(value)}
        return make_error("value_not_in_list", "Value not in list", details, info)

    def _file(self, item: InputDef, value: object) -> Error | None:
        try:
            exists = self.folders.resolve(str(value)).is_file()
        except (UnsafePath, OSError):
            exists = False
        if exists:
            return None
        hint = FOREIGN_PATH if "\\" in str(value) else ""
        return custom_error(
            item.name, f"Invalid {item.file_check or upload_kind(item)} file: {_echo(str(value))}{hint}"
        )

    def _info(self, item: InputDef, **more: object) -> Error:
        return {"input_name": item.name, "input_config": self.config(item), **more}


def _comparable(value: str, choices: Sequence[object]) -> list[str]:
    """The choices to compare a value with: all of them, or of very many those that begin as it does."""
    texts = [choice for choice in choices if isinstance(choice, str)]
    if len(texts) > MOST_COMPARED:
        texts = [text for text in texts if text[:1].lower() == value[:1].lower()][:MOST_COMPARED]
    return texts


def _echo(value: object) -> object:
    """What was sent as an error repeats it: a long text is cut."""
    return f"{value[:LONGEST_ECHO]}..." if isinstance(value, str) and len(value) > LONGEST_ECHO else value


def _taken(item: InputDef, kind: str, value: object, checked: Checked) -> object:
    """A literal as the declared type wants it, noted where it was another; errors as `converted_to`."""
    content = unwrapped(value)
    converted = converted_to(kind, content)
    if not is_finite(content):
        raise ValueError("NaN and infinite numbers are no values of inputs")
    if converted is not value and not is_link(converted):
        # A wrapped list that looks like a link stays wrapped: it would be followed as one.
        checked.values[item.name] = converted
        checked.changed = True
    return converted


def takes(names: tuple[str, ...] | None, item: InputDef) -> bool:
    """Tell whether a class's own check, which takes inputs of these names, is given an input or what it belongs to."""
    return names is not None and ("**" in names or (item.path[0] if item.path else item.name) in names)


def converted_to(kind: str, value: object) -> object:
    """A literal as the declared type wants it (execution.md section 2); ValueError or TypeError if it cannot be."""
    if kind == "INT" and type(value) is not int:
        return int(value)  # type: ignore[call-overload]  # raises TypeError for what is no number
    if kind == "FLOAT" and type(value) is not float:
        return float(value)  # type: ignore[arg-type]  # as above
    if kind == "STRING" and not isinstance(value, str):
        return str(value)
    if kind == "BOOLEAN" and not isinstance(value, bool):
        return bool(value)
    return value


def make_error(kind: str, message: str, details: str, info: Error) -> Error:
    """An error in the shape clients know."""
    return {"type": kind, "message": message, "details": details, "extra_info": info}


def custom_error(name: str, text: str, shown: str = "") -> Error:
    """The error of a node's own check at an input, `shown` to people; `text` may be empty."""
    details = f"{shown or name} - {text}" if text else shown or name
    return make_error("custom_validation_failed", "Custom validation failed for node", details, {"input_name": name})
