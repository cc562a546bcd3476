"""Calls a node's functions over lists of items and joins what comes back. Knows no plan and no cache.

Rules: reference/execution.md section 5.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from executor.context import RunContext, entered
from executor.contract.blocker import ExecutionBlocker
from executor.contract.definition import NodeDef
from executor.contract.v3.output import NodeOutput, ui_of
from executor.errors import exit_words
from executor.graph.bind import Arrange, Function
from executor.graph.dynamic import NodeJson
from executor.graph.expand import GraphBuilder
from executor.graph.inputs import Items, arguments_of_calls
from executor.graph.prompt import Link, is_link, link_of

Started = list["object | asyncio.Task[object]"]


class NodeFailed(Exception):
    """A node raised `cause`; `inputs` are what it was called with, where they are still known."""

    def __init__(self, node_id: str, cause: BaseException, inputs: Mapping[str, Items] | None = None) -> None:
        super().__init__(str(cause))
        self.node_id = node_id
        self.cause = cause
        self.inputs = inputs or {}


BlockHandler = Callable[[str], None]
"""Told the message of a blocker that kept a node from being called."""


def ignore_block(message: str) -> None:
    """The handler for calls of which no client hears."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A function of a node and the surroundings of its calls."""

    function: Function
    takes_lists: bool
    context: RunContext
    on_block: BlockHandler = ignore_block
    arrange: Arrange | None = None  # what makes a call's arguments those that the node expects

    def start(self, values: Mapping[str, Items]) -> Started:
        """Call once per item; async functions are started as tasks. Interrupted if the user stopped the job.

        A call that would get a blocker is not made: its result is a silent blocker.
        """
        results: Started = []
        try:
            for index, arguments in enumerate(arguments_of_calls(values, self.takes_lists)):
                self.context.check_interrupt()
                results.append(self._one(arguments, index))
        except BaseException:
            cancel(results)
            raise
        return results

    async def all(self, values: Mapping[str, Items]) -> list[object]:
        """Call once per item and wait for every result."""
        results = self.start(values)
        try:
            return [await item if isinstance(item, asyncio.Task) else item for item in results]
        finally:
            cancel(results)

    def _one(self, arguments: Mapping[str, object], index: int) -> object:
        blocker = _blocker_in(arguments, self.takes_lists)
        if blocker is not None:
            if blocker.message is not None:
                self.on_block(blocker.message)
            return ExecutionBlocker()
        if self.arrange is not None:
            arguments = self.arrange(arguments)
        context = msgspec.structs.replace(self.context, list_index=index) if index else self.context
        with entered(context):
            GraphBuilder.set_default_prefix(self.context.node_id, index)
            if inspect.iscoroutinefunction(self.function):
                return asyncio.get_running_loop().create_task(_contained(self.function, arguments))
            return self.function(**arguments)


async def _contained(function: Function, arguments: Mapping[str, object]) -> object:
    """Await an async function; an exit in it becomes an error, for in a task it would end the whole event loop."""
    try:
        return await cast(Coroutine[None, None, object], function(**arguments))
    except (SystemExit, KeyboardInterrupt) as failure:
        raise RuntimeError(f"the node tried to end the process by {exit_words(failure)}") from failure


def tasks_in(results: Started) -> list[asyncio.Task[object]]:
    """The results that are still to come."""
    return [item for item in results if isinstance(item, asyncio.Task)]


def cancel(results: Started) -> None:
    """Stop the calls that are still under way."""
    for task in tasks_in(results):
        task.cancel()


def settled(results: Started) -> list[object]:
    """All results of finished tasks; raises what the first failed one raised."""
    for task in tasks_in(results):
        if task.done() and (task.cancelled() or task.exception() is not None):
            task.result()
    return [item.result() if isinstance(item, asyncio.Task) else item for item in results]


def _blocker_in(arguments: Mapping[str, object], takes_lists: bool) -> ExecutionBlocker | None:
    for value in arguments.values():
        for item in value if takes_lists and isinstance(value, list | tuple) else (value,):
            if isinstance(item, ExecutionBlocker):
                return item
    return None


# ---------------------------------------------------------------- what comes back


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one call: a value per output, its ui, and the graph it expands to.

    In an expanding part, values that are links stand for outputs of the graph.
    """

    values: Sequence[object]
    ui: Mapping[str, object] | None = None
    graph: Mapping[str, NodeJson] | None = None

    def links(self) -> list[Link]:
        """The outputs of the graph that this part's values are."""
        return [link_of(value) for value in self.values if is_link(value)] if self.graph is not None else []


@dataclass(frozen=True, slots=True)
class _Spread:
    """The items that a link of an expansion turned out to be."""

    items: Items


def part_of(result: object, definition: NodeDef) -> Part:
    """Read what a node function returned; TypeError for what is no result."""
    if isinstance(result, ExecutionBlocker):
        return Part(values=(result,) * len(definition.outputs))
    if isinstance(result, NodeOutput):
        return _part_of_output(result, definition)
    if isinstance(result, dict):
        values = result.get("result", ())
        if isinstance(values, ExecutionBlocker):
            values = (values,) * len(definition.outputs)
        return Part(values=_checked(values, definition), ui=ui_of(result.get("ui")), graph=result.get("expand"))
    return Part(values=_checked(result, definition))


def _part_of_output(output: NodeOutput, definition: NodeDef) -> Part:
    values = output.args if output.blocker is None else (output.blocker,) * len(definition.outputs)
    return Part(values=values, ui=ui_of(output.ui), graph=cast("Mapping[str, NodeJson] | None", output.expand))


def _checked(values: object, definition: NodeDef) -> Sequence[object]:
    if hasattr(values, "__len__") and hasattr(values, "__getitem__"):
        return cast(Sequence[object], values)
    if values is None and not definition.outputs:
        return ()
    raise TypeError(
        f"{definition.name} returned {type(values).__name__}; a node returns a tuple with one value per output "
        f"({len(definition.outputs)} here), or a dict with 'ui' or 'result'"
    )


def merged_ui(parts: Sequence[Part]) -> dict[str, object] | None:
    """The ui of all calls joined by key, None if there is none; KeyError where a later call lacks a key."""
    given = [part.ui for part in parts if part.ui]
    if not given:
        return None
    return {key: [item for ui in given for item in cast(Sequence[object], ui[key])] for key in given[0]}


def merged_outputs(parts: Sequence[Part], definition: NodeDef) -> tuple[list[object], ...]:
    """The outputs of all calls joined: one item per call, or each call's items where the output is a list."""
    count = len(parts[0].values)
    lists = [output.is_list for output in definition.outputs]
    if any(lists):
        count = min(count, len(lists))
    return tuple(
        [_joined([part.values[index] for part in parts], index < len(lists) and lists[index]) for index in range(count)]
    )


def _joined(values: Sequence[object], is_list: bool) -> list[object]:
    items: list[object] = []
    for value in values:
        if isinstance(value, _Spread):
            single = value.items[0] if len(value.items) == 1 else None
            items.extend(single if is_list and isinstance(single, list | tuple) else value.items)
        elif isinstance(value, ExecutionBlocker) or not is_list:
            items.append(value)
        else:
            items.extend(cast(Sequence[object], value))
    return items


def resolved(part: Part, lookup: Callable[[Link], Items | None]) -> Part:
    """An expanding part with the items that its graph made in place of its links."""
    if part.graph is None:
        return part
    values = [_Spread(lookup(link_of(value)) or (None,)) if is_link(value) else value for value in part.values]
    return Part(values=values, ui=part.ui)
