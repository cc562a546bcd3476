"""The progress of a node as packs report it. Knows no transport."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from PIL.Image import Image

from executor import context
from executor.context import RunContext
from nodes import bridge


@dataclass(frozen=True, slots=True)
class Picture:
    """A preview that is already made: a PIL image."""

    picture: Image

    def image(self) -> Image:
        """A copy, which may be scaled."""
        return self.picture.copy()


class ProgressBar:
    """Steps of the running node; every step tests for an interrupt."""

    def __init__(self, total: float, node_id: str | None = None) -> None:
        self.total = total
        self.current: float = 0
        self.node_id = node_id
        self.hook = getattr(sys.modules.get("comfy.utils"), "PROGRESS_BAR_HOOK", None)
        self._run = context.current()

    def update_absolute(self, value: float, total: float | None = None, preview: object = None) -> None:
        """Say how many steps are done, with a preview (format, PIL image, longest side) or None."""
        if total is not None:
            self.total = total
        self.current = min(value, self.total)
        if self.hook is not None:
            self.hook(self.current, self.total, preview, node_id=self.node_id)
            return
        report(self._run, self.current, self.total, preview, self.node_id)

    def update(self, value: float) -> None:
        """Say that more steps are done."""
        self.update_absolute(self.current + value)


def report(run: RunContext, value: float, total: float, preview: object, node_id: str | None = None) -> None:
    """Tell a step of a node's work; raises Interrupted when the user stopped the prompt.

    `run` is the call in which the work began: a thread that a node started has none of its own.
    """
    here = context.current()
    if not here.node_id:
        here = run if run.node_id else bridge.running()
    picture = preview[1] if isinstance(preview, tuple) else preview
    here.check_interrupt()
    flag = getattr(bridge.services().line, "flag", None)
    if flag is not None:
        flag.check()
    shown = Picture(picture) if isinstance(picture, Image) else None
    here.sink.advance(node_id or here.node_id, value, total, shown)


def set_progress_bar_enabled(enabled: bool) -> None:
    """Show bars on the terminal, or not; Weft shows its own."""
    sys.modules["comfy.utils"].PROGRESS_BAR_ENABLED = enabled


def set_progress_bar_global_hook(function: object) -> None:
    """Call a function (value, total, preview, node_id=) at every step instead of telling clients."""
    sys.modules["comfy.utils"].PROGRESS_BAR_HOOK = function
