"""Asks node classes about inputs outside a run: has something changed, are these values good. Runs no node."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping

from executor.context import RunContext, current
from executor.contract.blocker import ExecutionBlocker
from executor.contract.concrete import concrete
from executor.contract.definition import NodeDef
from executor.contract.registry import Registry
from executor.errors import exit_words
from executor.graph.bind import arranging, bound
from executor.graph.call import Call
from executor.graph.inputs import NOT_COMPUTED, Hidden, Items, gather, no_results

log = logging.getLogger("weft.graph")

Json = dict[str, object]

NEVER_EQUAL = float("nan")


async def fingerprint(node_id: str, node: Mapping[str, object], definition: NodeDef, cls: type) -> object:
    """What a class tells of changes outside the prompt (IS_CHANGED): False if it tells nothing, NaN if it fails.

    It sees literals and hidden values; linked inputs are None (reference/execution.md section 7).
    """
    if not definition.has_fingerprint:
        return False
    if "is_changed" in node:
        return node["is_changed"]
    inputs = node.get("inputs")
    inputs = inputs if isinstance(inputs, Mapping) else {}
    definition = concrete(definition, inputs)
    try:
        gathered = gather(node_id, inputs, definition, no_results, Hidden())
        call = Call(
            function=bound(cls, "IS_CHANGED", definition, gathered.hidden),
            takes_lists=definition.takes_lists,
            context=_outside_a_run(node_id),
            arrange=arranging(definition),
        )
        results = await call.all(gathered.values)
    except (Exception, SystemExit):  # border: the code of a pack may raise anything
        log.warning("%s: IS_CHANGED of node %s failed; it will run again", definition.name, node_id, exc_info=True)
        return NEVER_EQUAL
    return [None if isinstance(result, ExecutionBlocker) else result for result in results]


async def answer(registry: Registry, request: Mapping[str, object]) -> Json:
    """Run a class's own check (VALIDATE_INPUTS) on a request that `validate.check_request` made.

    The answer is {"results": [true, false or text]}, or {"exception": {type, message, traceback}}.
    """
    definition, cls = registry.get(str(request["class_type"]))
    node_id, given = str(request["node_id"]), request["inputs"]
    definition = concrete(definition, given if isinstance(given, Mapping) else {})
    try:
        call = Call(
            function=bound(cls, "VALIDATE_INPUTS", definition, _hidden_values(definition, node_id)),
            takes_lists=definition.takes_lists,
            context=_outside_a_run(node_id),
            arrange=arranging(definition),
        )
        results = await call.all(_check_values(request, definition))
    except (Exception, SystemExit) as failure:  # noqa: BLE001  # border: the code of a pack may raise anything
        lines = traceback.format_tb(failure.__traceback__)
        kind = type(failure).__qualname__
        message = f"it ended by {exit_words(failure)}" if isinstance(failure, SystemExit) else str(failure)
        return {"exception": {"type": kind, "message": message, "traceback": lines}}
    return {"results": [_plain_result(result) for result in results]}


def _outside_a_run(node_id: str) -> RunContext:
    """The context of a question to a class: it may reach the worker's services, as nodes do."""
    return RunContext(node_id=node_id, services=current().services)


def _check_values(request: Mapping[str, object], definition: NodeDef) -> dict[str, Items]:
    given, linked, received = request["inputs"], request["linked"], request["received_types"]
    assert isinstance(given, Mapping)
    assert isinstance(linked, list)
    values: dict[str, Items] = {name: NOT_COMPUTED if name in linked else [value] for name, value in given.items()}
    names = definition.validator_inputs or ()
    if "input_types" in names:
        values["input_types"] = [received]
    if definition.by_schema:
        return values
    for name, value in _hidden_values(definition, str(request["node_id"])).items():
        if name in names or "**" in names:
            values[name] = [value]
    return values


def _hidden_values(definition: NodeDef, node_id: str) -> Json:
    filled = {item.name: Hidden().fill(item.type, node_id) for item in definition.inputs if item.kind == "hidden"}
    return {name: items[0] for name, items in filled.items() if items is not None}


def _plain_result(result: object) -> object:
    if result is True or isinstance(result, ExecutionBlocker):
        return True
    return False if result is False else str(result)
