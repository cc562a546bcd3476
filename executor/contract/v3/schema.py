"""What a V3 node says of itself, and the V1 forms of it. Knows no node class.

Source of fields and rules: reference/execution.md section 14.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from executor.contract.v3.families import MatchType, sections
from executor.contract.v3.sockets import Input, Options, Output, plain_option


class Hidden(StrEnum):
    """What a node may be told beside its inputs: `cls.hidden.<name>`."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"
    auth_token_comfy_org = "AUTH_TOKEN_COMFY_ORG"
    api_key_comfy_org = "API_KEY_COMFY_ORG"


_OF_API_NODES = (Hidden.auth_token_comfy_org, Hidden.api_key_comfy_org)
_OF_OUTPUT_NODES = (Hidden.prompt, Hidden.extra_pnginfo)


@dataclass
class Schema:
    """One node class: its name, inputs, outputs and nature."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    search_aliases: list[str] = field(default_factory=list)
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_dev_only: bool = False
    is_api_node: bool = False
    price_badge: object = None
    not_idempotent: bool = False
    enable_expand: bool = False
    accept_all_inputs: bool = False
    essentials_category: str | None = None
    has_intermediate_output: bool = False

    def finalize(self) -> None:
        """Fill in what follows from the rest: hidden values of api and output nodes, ids of outputs without one."""
        hidden = list(self.hidden or [])
        for applies, kinds in ((self.is_api_node, _OF_API_NODES), (self.is_output_node, _OF_OUTPUT_NODES)):
            hidden += [kind for kind in kinds if applies and kind not in hidden]
        self.hidden = hidden
        self.inputs = list(self.inputs or [])
        self.outputs = list(self.outputs or [])
        for index, output in enumerate(self.outputs):
            if isinstance(output, Output) and output.id is None:
                output.id = f"_{index}_{output.get_io_type()}_"

    def validate(self) -> None:
        """ValueError when two inputs, or two outputs, have one id; TypeError for what is no input or output."""
        for what, items, kind in (("inputs", self.inputs, Input), ("outputs", self.outputs, Output)):
            for index, item in enumerate(items):
                if not isinstance(item, kind):
                    raise TypeError(
                        f"node {self.node_id!r}: {what}[{index}] is {item!r}, not an io.<type>.{kind.__name__}"
                    )
            twice = _repeated(item.id for item in items if item.id is not None)
            if twice:
                raise ValueError(f"node {self.node_id!r} has two {what} with one id: {', '.join(twice)}")


def _repeated(ids: Iterable[str]) -> list[str]:
    counts: dict[str, int] = {}
    for name in ids:
        counts[name] = counts.get(name, 0) + 1
    return [name for name, count in counts.items() if count > 1]


def input_types(schema: Schema) -> Options:
    """The inputs as INPUT_TYPES of a V1 class would give them."""
    listed = sections(schema.inputs)
    if schema.hidden:
        listed["hidden"] = {hidden.name: (hidden.value,) for hidden in schema.hidden}
    return listed


def return_names(schema: Schema) -> tuple[str, ...]:
    """The names of the outputs as listed."""
    return tuple(output.display_name or output.get_io_type() for output in schema.outputs)


def match_templates(schema: Schema) -> list[str | None] | None:
    """The template of each output's type, None if no output has one."""
    outputs = schema.outputs
    found = [output.template.template_id if isinstance(output, MatchType.Output) else None for output in outputs]
    return found if any(found) else None


def listed_extras(schema: Schema) -> Options:
    """What the listing of a V3 node has beyond a V1 node's, where it is set."""
    extras: Options = {
        "output_matchtypes": match_templates(schema),
        "search_aliases": list(schema.search_aliases or []) or None,
        "price_badge": plain_option(schema.price_badge),
        "dev_only": schema.is_dev_only or None,
        "essentials_category": schema.essentials_category,
        "has_intermediate_output": schema.has_intermediate_output or None,
    }
    return {key: value for key, value in extras.items() if value is not None}
