"""The exact /object_info entry of a node, and its form on the shelf. Knows no HTTP.

On the shelf ("template") a list of files is a marker, so that an entry can be kept and still be fresh when shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from executor.contract.choices import listed, of_marker, to_marker
from executor.contract.definition import NodeDef
from executor.contract.types import FileList, plain
from executor.contract.v3.schema import Schema, input_types, listed_extras
from executor.files import Folders

Json = dict[str, object]

SECTIONS = ("required", "optional", "hidden")


def template(definition: NodeDef, cls: type) -> Json:
    """The entry of a class as data, with markers for lists of files; raises what its INPUT_TYPES raises.

    Key set: reference/http_api.md section 5. Classes listed in the newer form always tell four keys that the older
    form tells only when set.
    """
    if definition.by_schema:
        return _of_schema(definition, cls.GET_SCHEMA())  # type: ignore[attr-defined]  # the contract of a V3 class
    inputs: Mapping[str, object] = cls.INPUT_TYPES()  # type: ignore[attr-defined]  # the contract of a V1 class
    outputs = tuple(getattr(cls, "RETURN_TYPES", ()))
    is_list = getattr(cls, "OUTPUT_IS_LIST", None)
    entry = _entry(definition, inputs)
    entry["output"] = [to_data(kind) for kind in outputs]
    entry["output_is_list"] = [False] * len(outputs) if is_list is None else [bool(flag) for flag in is_list]
    entry["output_name"] = [to_data(name) for name in getattr(cls, "RETURN_NAMES", outputs)]
    if hasattr(cls, "OUTPUT_TOOLTIPS"):
        entry["output_tooltips"] = to_data(cls.OUTPUT_TOOLTIPS)
    always = definition.contract == "v3"
    flags = {
        "deprecated": definition.deprecated,
        "experimental": definition.experimental,
        "api_node": definition.api_node,
    }
    entry.update({key: value for key, value in flags.items() if value or always})
    if always:
        entry.setdefault("output_tooltips", [None] * len(outputs))
    return entry


def _of_schema(definition: NodeDef, schema: Schema) -> Json:
    """The entry of a V3 class."""
    entry = _entry(definition, input_types(schema))
    entry |= {
        "display_name": schema.display_name,
        "output": [plain(output.get_io_type()) for output in schema.outputs],
        "output_is_list": [output.is_list for output in definition.outputs],
        "output_name": [output.name for output in definition.outputs],
        "output_tooltips": [output.tooltip for output in definition.outputs],
        "deprecated": definition.deprecated,
        "experimental": definition.experimental,
        "api_node": definition.api_node,
    }
    return entry | {key: to_data(value) for key, value in listed_extras(schema).items()}


def _entry(definition: NodeDef, inputs: Mapping[str, object]) -> Json:
    """What both contracts tell alike; the outputs are to be filled in."""
    return {
        "input": to_data(inputs),
        "input_order": {section: list(_mapping(inputs[section])) for section in inputs},
        "output": [],
        "output_is_list": [],
        "output_name": [],
        "name": definition.name,
        "display_name": definition.display_name,
        "description": definition.description,
        "python_module": definition.pack,
        "category": definition.category,
        "output_node": definition.is_output,
    }


def render(shelved: Json, folders: Folders) -> Json:
    """The entry as clients get it now: a copy of a template with its lists of files read from disk."""
    return {key: fill(value, folders) if key in ("input", "output") else value for key, value in shelved.items()}


def fill(value: object, folders: Folders) -> object:
    """JSON data with every marker in it replaced by the names of the files."""
    if isinstance(value, dict):
        files = of_marker(value)
        if files is not None:
            return listed(files, folders)
        return {key: fill(item, folders) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, folders) for item in value]
    return value


def to_data(value: object) -> object:
    """What a class wrote, as plain JSON data: lists of files as markers, type names as text, other objects as text."""
    match value:
        case None | bool():
            return value
        case str():
            return plain(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case FileList(choices=files) if files is not None:
            return to_marker(files)
        case Mapping():
            return {_key(key): to_data(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [to_data(item) for item in value]
        case _:
            return str(value)


def options_text(options: object) -> str:
    """An input's options object as JSON text, markers in it."""
    return json.dumps(to_data(options))


def _key(key: object) -> str:
    return plain(key) if isinstance(key, str) else str(key)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
