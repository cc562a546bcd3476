"""The executor's names as packs import them. The engine itself is Weft's own and is reached by none of them.

Classes may be wrapped and subclassed; what is changed on them changes nothing in how prompts run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from executor.contract.blocker import ExecutionBlocker
from executor.errors import InvalidPrompt, NotProvided, WeftError
from executor.graph.inputs import arguments_of_calls
from executor.graph.prompt import Prompt
from executor.graph.validate import validate
from nodes import bridge
from nodes.placeholders import fallback
from nodes.prompt_queue import PromptQueue

__all__ = ["ExecutionBlocker", "PromptQueue"]

__getattr__ = fallback(__name__)

Inputs = Mapping[str, Sequence[object]]
MAXIMUM_HISTORY_SIZE = 10000
SENSITIVE_EXTRA_DATA_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")


class ExecutionResult(Enum):
    """How a node's turn ended."""

    SUCCESS = 0
    FAILURE = 1
    PENDING = 2


class CacheType(Enum):
    """Ways to keep results."""

    CLASSIC = 0
    LRU = 1
    NONE = 2
    DEPENDENCY_AWARE = 3
    RAM_PRESSURE = 4


class PromptExecutor:
    """Stands where packs look for the executor: it may be wrapped or subclassed, and runs nothing."""

    def __init__(self, server: object = None, *settings: object, **more: object) -> None:
        self.server = server
        self.status_messages: list[object] = []
        self.success = True
        self.history_result: dict[str, object] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what was told."""
        self.status_messages = []
        self.success = True

    def add_message(self, event: str, data: dict[str, object], broadcast: bool) -> None:
        """Send an event to the running prompt's client, or to all."""
        if self.server is not None:
            self.server.send_sync(event, data, None if broadcast else self.server.client_id)

    def handle_execution_error(self, *told: object) -> None:
        """Nothing: the engine reports errors itself."""

    def execute(self, prompt: object, prompt_id: str, extra_data: object = None, execute_outputs: object = ()) -> None:
        """Refused: prompts run through the queue (`PromptServer.instance.prompt_queue.put`)."""
        raise NotProvided("execution.PromptExecutor.execute", "put the prompt on the queue instead")

    async def execute_async(self, *given: object, **more: object) -> None:
        """Refused, as `execute`."""
        self.execute(*given, **more)  # type: ignore[arg-type]


async def validate_prompt(
    prompt_id: object, prompt: object = None, partial_execution_list: Sequence[str] | None = None
) -> tuple[bool, dict[str, object] | None, list[str], dict[str, object]]:
    """Whether a prompt may run, the error, the good outputs, and what is wrong at which node.

    Older packs give the prompt alone, as the first argument.
    """
    body = prompt_id if prompt is None else prompt
    services = bridge.services()
    try:
        definitions = services.registry.definitions
        parsed = Prompt.parse(body, definitions)
        verdict = await validate(parsed, definitions, bridge.folders(), targets=partial_execution_list)
    except InvalidPrompt as refused:
        return False, refused.error, [], refused.node_errors
    except WeftError as refused:
        error = {"type": "invalid_prompt", "message": str(refused), "details": str(refused), "extra_info": {}}
        return False, error, [], {}
    return verdict.error is None, verdict.error, list(verdict.targets), verdict.node_errors


def full_type_name(klass: type) -> str:
    """Module and name of a class; of a built-in one the name alone."""
    return klass.__qualname__ if klass.__module__ == "builtins" else f"{klass.__module__}.{klass.__qualname__}"


def slice_dict(d: Inputs, i: int) -> dict[str, object]:
    """Item `i` of every list, the last one where a list is shorter."""
    return {name: items[min(i, len(items) - 1)] for name, items in d.items()}


def map_node_over_list(
    obj: object, input_data_all: Inputs, func: str, allow_interrupt: bool = False,
    execution_block_cb: Callable[[ExecutionBlocker], object] | None = None,
    pre_execute_cb: Callable[[int], object] | None = None,
) -> list[object]:  # fmt: skip
    """What a node's method returns for every item of its inputs (reference/execution.md section 5)."""
    results: list[object] = []
    function = getattr(obj, func)
    for index, arguments in enumerate(arguments_of_calls(input_data_all, bool(getattr(obj, "INPUT_IS_LIST", False)))):
        blocker = next((value for value in arguments.values() if isinstance(value, ExecutionBlocker)), None)
        if blocker is not None and execution_block_cb is not None:
            results.append(execution_block_cb(blocker))
            continue
        if pre_execute_cb is not None:
            pre_execute_cb(index)
        results.append(blocker if blocker is not None else function(**arguments))
    return results


_map_node_over_list = map_node_over_list


async def _async_map_node_over_list(
    prompt_id: str, unique_id: str, obj: object, input_data_all: Inputs, func: str, allow_interrupt: bool = False,
    execution_block_cb: Callable[[ExecutionBlocker], object] | None = None,
    pre_execute_cb: Callable[[int], object] | None = None, **more: object,
) -> list[object]:  # fmt: skip
    """As `map_node_over_list`, awaiting what is to be awaited."""
    results = map_node_over_list(obj, input_data_all, func, allow_interrupt, execution_block_cb, pre_execute_cb)
    return [await result if inspect.isawaitable(result) else result for result in results]
