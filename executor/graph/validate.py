"""Decides whether a prompt may run: which outputs are good, and what is wrong at which node. Runs no node.

Rules: reference/execution.md section 2; shapes: reference/http_api.md section 3. Where a prompt loops, the nodes of the
loop are named, as servers of 2026 do.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import ParamSpec, TypeVar

from executor.contract.definition import InputDef, NodeDef
from executor.errors import InvalidPrompt
from executor.files import Folders
from executor.graph.components import components, is_loop
from executor.graph.input_checks import Checked, Error, InputChecker, custom_error, make_error, takes
from executor.graph.prompt import Link, Prompt, PromptNode, is_link

Json = dict[str, object]

LONGEST_LOOP_SHOWN = 12
"""Nodes of a loop that an error names: a loop of thousands must not make an answer of millions."""

FEW_NODES = 50
"""Graphs of more nodes are looked through off the event loop."""
MOST_TOLD = 200
"""Nodes whose errors are told, and outputs named at each: what comes after them is counted, not told."""

P = ParamSpec("P")
T = TypeVar("T")

AskValidator = Callable[[Json], Awaitable[Json]]
"""Asks a worker to run a class's own check: the request `check_request` makes, answered by `checks.answer`."""

Refresh = Callable[[Sequence[str]], Awaitable[Mapping[str, NodeDef]]]
"""Asks a worker to describe classes anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The end of validation: the prompt with converted values, the outputs to run, and what was wrong.

    `error` is None if at least one output is good; `node_errors` may hold the errors of the others even so.
    """

    prompt: Json
    targets: tuple[str, ...]
    error: Json | None
    node_errors: Json

    def require_good(self) -> None:
        """Raise InvalidPrompt if nothing of the prompt may run."""
        if self.error is not None:
            error = self.error
            raise InvalidPrompt(str(error["type"]), str(error["message"]), str(error["details"]), {}, self.node_errors)


async def validate(
    prompt: Prompt,
    definitions: Mapping[str, NodeDef],
    folders: Folders,
    *,
    targets: Sequence[object] | None = None,
    ask: AskValidator | None = None,
    refresh: Refresh | None = None,
) -> Verdict:
    """Check a prompt's outputs (only those in `targets`, if given) and all they need; linear, without recursion.

    `ask` runs classes' own checks in a worker (without it they are taken to agree); `refresh` fetches the definitions
    of pack classes whose choices did not match, for one more try. What either raises comes through.
    """
    wanted = None if targets is None else {target for target in targets if isinstance(target, str)}
    outputs = {
        node_id: None
        for node_id, node in prompt.nodes.items()
        if definitions[node.class_type].is_output and (wanted is None or node_id in wanted)
    }
    if not outputs:
        error = make_error("prompt_no_outputs", "Prompt has no outputs", "", {})
        return Verdict(prompt=dict(prompt.raw), targets=(), error=error, node_errors={})
    apart = len(prompt.nodes) > FEW_NODES
    survey = await _done(apart, Survey, InputChecker(prompt, definitions, folders), outputs)
    stale = survey.classes_to_refresh()
    if refresh is not None and stale:
        fresh = {**definitions, **await refresh(stale)}
        survey = await _done(apart, Survey, InputChecker(prompt, fresh, folders), outputs)
    if ask is not None:
        await survey.ask_validators(ask)
    return await _done(apart, survey.verdict)


async def _done(apart: bool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns; it may run `apart`, in a thread, where it would hold the event loop."""
    return await asyncio.to_thread(work, *args, **kwargs) if apart else work(*args, **kwargs)


@dataclass(slots=True)
class Survey:
    """Everything found in one walk from the outputs up."""

    checker: InputChecker
    outputs: dict[str, None]  # an ordered set
    checked: dict[str, Checked] = field(default_factory=dict)
    via: dict[str, tuple[InputDef, Link]] = field(default_factory=dict)  # the link by which a node was first reached
    parts: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parts = components(self.outputs, self._sources_of_new)

    def classes_to_refresh(self) -> list[str]:
        """Pack classes with a choice that did not match: their lists may have changed."""
        nodes, definitions = self.checker.prompt.nodes, self.checker.definitions
        found = {
            nodes[node_id].class_type: None
            for node_id, checked in self.checked.items()
            if checked.errors and any(error["type"] == "value_not_in_list" for error in checked.errors)
        }
        return [name for name in found if definitions[name].pack.startswith("custom_nodes")]

    async def ask_validators(self, ask: AskValidator) -> None:
        """Put the answers of the classes' own checks to the nodes' errors."""
        for node_id, checked in self.checked.items():
            if checked.failure is not None:
                continue
            request = check_request(self.checker, node_id, checked)
            if request is None:
                continue
            answer = await ask(request)
            if "exception" in answer:
                checked.errors.clear()
                checked.failure = _Reported(answer["exception"])
            else:
                shown = {item.name: item.shown for item in self.checker.definition(node_id).inputs}
                checked.errors += _custom_errors(request, answer, shown)

    def verdict(self) -> Verdict:
        """Sum up: good outputs, and errors with the outputs that depend on them, all in prompt order."""
        if self._is_good():
            return Verdict(prompt=self._converted(), targets=tuple(self.outputs), error=None, node_errors={})
        errors = {node_id: list(checked.errors) for node_id, checked in self.checked.items()}
        failed = [node_id for node_id in self.checker.prompt.nodes if node_id in self.checked]
        failed = [node_id for node_id in failed if self.checked[node_id].failure is not None]
        for number, node_id in enumerate(failed):
            failure = self.checked[node_id].failure
            errors[node_id].append(self._failure(node_id, failure) if failure and number < MOST_TOLD else {})
        for part in self.parts:
            if is_loop(part, self._sources):
                for node_id, error in _loop_errors(part):
                    errors[node_id].append(error)
        bad = self._bad(errors)
        good = tuple(node_id for node_id in self.outputs if node_id not in bad)
        dependents = self._dependents(bad)
        outputs = list(self.outputs)
        node_errors: Json = {
            node_id: {
                "errors": errors[node_id],
                "dependent_outputs": _chosen(outputs, dependents[node_id]),
                "class_type": node.class_type,
            }
            for node_id, node in islice(self._bad_nodes(errors), MOST_TOLD)
        }
        return Verdict(
            prompt=self._converted(), targets=good, error=None if good else self._error(errors), node_errors=node_errors
        )

    def _is_good(self) -> bool:
        """Tell whether nothing at all is wrong, as with most prompts."""
        for checked in self.checked.values():
            if checked.errors or checked.failure is not None:
                return False
        return not any([is_loop(part, self._sources) for part in self.parts])

    # ---------------------------------------------------------------- the walk

    def _sources_of_new(self, node_id: str) -> list[str]:
        checked = self.checked[node_id] = self.checker.check(node_id)
        for item, link in checked.sources:
            self.via.setdefault(link.node, (item, link))
        return self._sources(node_id)

    def _sources(self, node_id: str) -> list[str]:
        return [link.node for _, link in self.checked[node_id].sources]

    def _bad(self, errors: Mapping[str, list[Error]]) -> set[str]:
        bad: set[str] = set()
        for part in self.parts:  # sources first
            if any(errors[node_id] or not bad.isdisjoint(self._sources(node_id)) for node_id in part):
                bad.update(part)
        return bad

    def _dependents(self, bad: set[str]) -> dict[str, int]:
        """For every bad node the outputs that need it, as bits by place: so the cost stays linear."""
        bits = dict.fromkeys(bad, 0)
        for index, output in enumerate(self.outputs):
            if output in bad:
                bits[output] = 1 << index
        for part in reversed(self.parts):  # consumers first
            if part[0] not in bad:
                continue
            shared = 0
            for node_id in part:
                shared |= bits[node_id]
            for node_id in part:
                bits[node_id] = shared
                for source in self._sources(node_id):
                    if source in bad:
                        bits[source] |= shared
        return bits

    # ---------------------------------------------------------------- shapes

    def _bad_nodes(self, errors: Mapping[str, list[Error]]) -> Iterator[tuple[str, PromptNode]]:
        nodes = self.checker.prompt.nodes
        return ((node_id, node) for node_id, node in nodes.items() if errors.get(node_id))

    def _failure(self, node_id: str, failure: Exception) -> Error:
        kind, text, lines = _told(failure)
        info: Error = {"exception_type": kind, "traceback": lines}
        if node_id in self.outputs or node_id not in self.via:
            return make_error("exception_during_validation", "Exception when validating node", text, info)
        item, link = self.via[node_id]
        info |= {
            "input_name": item.name,
            "input_config": self.checker.config(item),
            "exception_message": text,
            "linked_node": list(link),
        }
        return make_error("exception_during_inner_validation", "Exception when validating inner node", text, info)

    def _error(self, errors: Mapping[str, list[Error]]) -> Error:
        told = (error for output in self.outputs for error in errors[output] if error)
        lines = [f"{error['message']}: {error['details']}" for error in islice(told, MOST_TOLD)]
        message = "Prompt outputs failed validation"
        return make_error("prompt_outputs_failed_validation", message, "\n".join(lines), {})

    def _converted(self) -> Json:
        changed = {
            node_id: {**self.checker.prompt.raw[node_id], "inputs": checked.values}
            for node_id, checked in self.checked.items()
            if checked.changed
        }
        return {**self.checker.prompt.raw, **changed}


class _Reported(Exception):
    """An exception that a worker met in a class's own check, as it told it."""

    def __init__(self, told: object) -> None:
        self.told = told if isinstance(told, dict) else {}
        super().__init__(str(self.told.get("message", "")))


def check_request(checker: InputChecker, node_id: str, checked: Checked) -> Json | None:
    """The question to a worker about a node's own check; None if there is none, or it would get no input.

    `inputs` holds literals, and None for the names in `linked`; `received_types` the types of the links.
    """
    node = checker.prompt.nodes[node_id]
    definition = checker.definition(node_id)
    names = definition.validator_inputs
    if names is None:
        return None
    declared = {item.name: item for item in definition.inputs}
    given: Json = {}
    for name, value in checked.values.items():
        linked = is_link(value)
        item = declared.get(name)
        named = name in names or "**" in names if item is None else takes(names, item)
        if named and (linked or item is not None):
            given[name] = None if linked else value
    if not given:
        return None
    linked_names = [name for name in given if is_link(checked.values[name])]
    return {
        "node_id": node_id,
        "class_type": node.class_type,
        "inputs": given,
        "linked": linked_names,
        "received_types": checked.received,
    }


def _custom_errors(request: Json, answer: Json, shown: Mapping[str, str]) -> list[Error]:
    given, results = request["inputs"], answer.get("results", [])
    assert isinstance(given, dict)
    assert isinstance(results, list)
    failed = [result for result in results if result is not True]
    return [
        custom_error(name, "" if result is False else str(result), shown.get(name, name))
        for result in failed
        for name in given
    ]


def _chosen(outputs: list[str], bits: int) -> list[str]:
    """The outputs whose place is set in `bits`, in order, MOST_TOLD of them."""
    found: list[str] = []
    while bits and len(found) < MOST_TOLD:
        lowest = bits & -bits
        found.append(outputs[lowest.bit_length() - 1])
        bits ^= lowest
    return found


def _told(failure: Exception) -> tuple[str, str, list[str]]:
    """Type, text and traceback lines of an exception."""
    if isinstance(failure, _Reported):
        lines = failure.told.get("traceback", [])
        return str(failure.told.get("type", "")), str(failure), lines if isinstance(lines, list) else []
    text = str(failure.args[0]) if isinstance(failure, KeyError) and failure.args else str(failure)
    return type(failure).__qualname__, text, traceback.format_tb(failure.__traceback__)


def _loop_errors(part: list[str]) -> Iterator[tuple[str, Error]]:
    """The error of every node of a loop, each naming the loop from itself on."""
    size = len(part)
    for start, node_id in enumerate(part):
        around = [part[(start + step) % size] for step in range(min(size, LONGEST_LOOP_SHOWN))]
        shown = [*around, "...", node_id] if size > LONGEST_LOOP_SHOWN else [*around, node_id]
        info: Error = {"node_id": node_id, "cycle_nodes": part[:LONGEST_LOOP_SHOWN]}
        yield node_id, make_error("dependency_cycle", "Dependency cycle detected", " -> ".join(shown), info)
