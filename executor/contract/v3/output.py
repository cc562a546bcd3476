"""What a V3 node returns. Knows neither graphs nor the engine that reads it.

Source: reference/execution.md section 14.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from executor.contract.blocker import ExecutionBlocker


class NodeOutput:
    """The outputs of a call, what the client shows of it, and what else is to happen.

    `ui` is a dict or an object with `as_dict()`; `expand` a graph to run in the node's place; `block_execution` a
    message, or a blocker, that blocks every output.
    """

    def __init__(
        self,
        *args: object,
        ui: object = None,
        expand: Mapping[str, object] | None = None,
        block_execution: str | ExecutionBlocker | None = None,
    ) -> None:
        self.args = args
        self.ui = ui
        self.expand = expand
        self.block_execution = block_execution

    @property
    def result(self) -> tuple[object, ...] | None:
        """The outputs, or None if there are none."""
        return self.args if self.args else None

    @property
    def blocker(self) -> ExecutionBlocker | None:
        """What every output is, if the node blocks what depends on it."""
        blocked = self.block_execution
        return blocked if blocked is None or isinstance(blocked, ExecutionBlocker) else ExecutionBlocker(blocked)

    def __getitem__(self, index: int) -> object:
        return self.args[index]

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> NodeOutput:
        """What a V1 dict (`ui`, `result`, `expand`) says."""
        values = data.get("result")
        expand = cast("Mapping[str, object] | None", data.get("expand"))
        if isinstance(values, ExecutionBlocker):
            return cls(ui=data.get("ui"), expand=expand, block_execution=values)
        given = tuple(values) if isinstance(values, list | tuple) else () if values is None else (values,)
        return cls(*given, ui=data.get("ui"), expand=expand)


def ui_of(ui: object) -> Mapping[str, object] | None:
    """What a client is shown, as a dict; TypeError for what is neither a dict nor can be made one."""
    if hasattr(ui, "as_dict"):
        ui = ui.as_dict()
    if ui is None or isinstance(ui, Mapping):
        return ui
    raise TypeError(f"ui is a dict or an object of comfy_api's ui, not {type(ui).__name__}")
