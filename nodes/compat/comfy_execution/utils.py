"""`comfy_execution.utils`: which call is running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from executor import context
from nodes import placeholders

__getattr__ = placeholders.fallback(__name__)


class ExecutionContext(NamedTuple):
    """The running call: `list_index` counts the calls of one node."""

    prompt_id: str
    node_id: str
    list_index: int | None


def get_executing_context() -> ExecutionContext | None:
    """The running call, None outside of nodes."""
    here = context.current()
    return ExecutionContext(here.job_id, here.node_id, here.list_index) if here.node_id else None


@contextmanager
def CurrentNodeContext(prompt_id: str, node_id: str, list_index: int | None = None) -> Iterator[None]:  # noqa: N802
    """Let everything inside a with block count as a call of this node: for threads that a node starts."""
    here = msgspec.structs.replace(context.current(), job_id=prompt_id, node_id=node_id, list_index=list_index or 0)
    with context.entered(here):
        yield
