"""Reads a V3 node class into the one internal definition. Calls no node.

Source of the contract: reference/execution.md section 14.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import msgspec

from executor.contract import v1
from executor.contract.definition import Choosing, Growing, InputDef, NodeDef, Option, OutputDef, Slotted
from executor.contract.types import matching_name
from executor.contract.v3.families import Autogrow, DynamicCombo, DynamicSlot, MultiType
from executor.contract.v3.node import ComfyNode, overrides
from executor.contract.v3.schema import Schema, return_names
from executor.contract.v3.sockets import Input
from executor.contract.v3.widgets import Combo

LAZY_CHECK, FINGERPRINT, VALIDATOR = "check_lazy_status", "fingerprint_inputs", "validate_inputs"


def describe(name: str, cls: type[ComfyNode], *, display_name: str | None = None, pack: str = "nodes") -> NodeDef:
    """The definition of a V3 class; raises what its define_schema raises, ValueError if ids collide."""
    schema = cls.GET_SCHEMA()
    inputs = _inputs(schema)
    return NodeDef(
        name=name,
        display_name=display_name or schema.display_name or name,
        category=schema.category,
        inputs=inputs,
        outputs=_outputs(schema),
        is_output=bool(schema.is_output_node),
        is_async=inspect.iscoroutinefunction(cls.execute),
        takes_lists=bool(schema.is_input_list),
        has_lazy_check=overrides(cls, LAZY_CHECK),
        has_fingerprint=overrides(cls, FINGERPRINT),
        not_idempotent=bool(schema.not_idempotent),
        validator_inputs=v1.parameters_of(cls.validate_inputs) if overrides(cls, VALIDATOR) else None,
        open_inputs=bool(schema.accept_all_inputs),
        contract="v3",
        by_schema=True,
        is_dynamic=any(item.dynamic is not None for item in inputs),
        pack=pack,
        description=schema.description or "",
        deprecated=bool(schema.is_deprecated),
        experimental=bool(schema.is_experimental),
        api_node=bool(schema.is_api_node),
    )


def _inputs(schema: Schema) -> tuple[InputDef, ...]:
    """The inputs in the order of V1 listings: required, optional, hidden."""
    inputs = sorted(definitions_of(schema.inputs), key=lambda item: item.kind != "required")
    return (*inputs, *(InputDef(name=item.name, type=item.value, kind="hidden") for item in schema.hidden))


def _outputs(schema: Schema) -> tuple[OutputDef, ...]:
    return tuple(
        OutputDef(
            name=name,
            type=matching_name(output.get_io_type()),
            is_list=bool(output.is_output_list),
            tooltip=output.tooltip,
        )
        for name, output in zip(return_names(schema), schema.outputs, strict=True)
    )


def definitions_of(inputs: Sequence[Input]) -> list[InputDef]:
    """Each input's definition, dynamic ones with what they stand for as plain data."""
    return [definition_of(item) for item in inputs]


def definition_of(item: Input) -> InputDef:
    """One input's definition."""
    kind = "optional" if item.optional else "required"
    found = v1.input_of(item.id, "optional" if kind == "optional" else "required", (item.get_io_type(), item.as_dict()))
    if isinstance(item, MultiType.Input) and isinstance(item.input_override, Combo.Input):
        found = msgspec.structs.replace(found, choices=None)  # a link may bring anything of the union
    return msgspec.structs.replace(found, dynamic=_dynamic(item))


def _dynamic(item: Input) -> Growing | Choosing | Slotted | None:
    match item:
        case Autogrow.Input(template=template):
            inner = definition_of(template.input)
            return Growing(template=inner, names=tuple(template.names), minimum=template.min)
        case DynamicCombo.Input(options=options):
            return Choosing(
                options=tuple(Option(key=option.key, inputs=tuple(definitions_of(option.inputs))) for option in options)
            )
        case DynamicSlot.Input(slot=slot, inputs=inputs):
            return Slotted(slot=definition_of(slot), inputs=tuple(definitions_of(inputs)))
        case _:
            return None
