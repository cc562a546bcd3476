"""Who runs right now: job, node, progress and interrupt, handed down through a ContextVar. Knows no transport."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from executor.errors import Interrupted

if TYPE_CHECKING:
    from PIL.Image import Image


class Preview(Protocol):
    """A picture of the work so far, made only when somebody asks for it."""

    def image(self) -> Image:
        """The picture, RGB, in its natural size."""
        ...


class ProgressSink(Protocol):
    """Where the steps of a running node are reported to."""

    def advance(self, node_id: str, value: float, total: float, preview: Preview | None) -> None:
        """Tell that `value` of `total` steps of a node are done."""
        ...

    def set(self, node_id: str, value: float, total: float, preview: Preview | None) -> None:
        """The same for what is no single step: only the node's state is told."""
        ...

    def text(self, node_id: str, message: str) -> None:
        """Show a line of text at a node."""
        ...


class Later(Protocol):
    """Who takes over work that others need not wait for."""

    def take(self, make: Callable[[], Callable[[], None]], nbytes: int) -> bool:
        """Take over the work that is made, which holds so many bytes; False: it is the node's own to do."""
        ...


class InterruptFlag:
    """A stop request for one job, set from any thread; the nodes of a job that is `held` wait until it is allowed."""

    def __init__(self, *, held: bool = False) -> None:
        self._event = threading.Event()
        self._allowed = threading.Event() if held else None

    def set(self) -> None:
        """Ask the job to stop."""
        self._event.set()
        self.allow()

    def allow(self) -> None:
        """Let the nodes of a held job run."""
        if self._allowed is not None:
            self._allowed.set()

    def wait_allowed(self) -> None:
        """Wait until the job's nodes may run; Interrupted where it is to stop instead."""
        if self._allowed is not None:
            self._allowed.wait()
            self.check()

    def is_set(self) -> bool:
        """Tell whether the job was asked to stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise Interrupted if the job was asked to stop."""
        if self._event.is_set():
            raise Interrupted("the prompt was interrupted")


class SilentProgress:
    """A sink that drops everything: for calls outside a prompt."""

    def advance(self, node_id: str, value: float, total: float, preview: Preview | None) -> None:
        """Drop the step."""

    def set(self, node_id: str, value: float, total: float, preview: Preview | None) -> None:
        """Drop the state."""

    def text(self, node_id: str, message: str) -> None:
        """Drop the text."""


@dataclass(slots=True)
class PreviewChoice:
    """How pictures of the work so far are made: "none", "auto", "latent2rgb" or "taesd"; packs may change it."""

    method: str = "auto"


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """The running call: which job, node and list item, and how to reach the world from it.

    `services` is the worker's own object (folders, memory, registry ...); nodes reach it through
    `nodes.builtin.services`, which knows its type.
    """

    job_id: str = ""
    client_id: str | None = None
    node_id: str = ""
    list_index: int = 0
    interrupt: InterruptFlag = msgspec.field(default_factory=InterruptFlag)
    sink: ProgressSink = msgspec.field(default_factory=SilentProgress)
    services: object = None
    previews: PreviewChoice = msgspec.field(default_factory=PreviewChoice)
    later: Later | None = None

    @property
    def preview_method(self) -> str:
        """How pictures of the work so far are made at this moment."""
        return self.previews.method

    def check_interrupt(self) -> None:
        """Raise Interrupted if the user stopped this job."""
        self.interrupt.check()

    def progress(self, value: float, total: float, preview: Preview | None = None) -> None:
        """Report a step of the current node after testing for an interrupt (raises Interrupted)."""
        self.interrupt.check()
        self.sink.advance(self.node_id, value, total, preview)

    def finish_later(self, make: Callable[[], Callable[[], None]], nbytes: int) -> bool:
        """Hand over work that goes on while other nodes run; False where the node has to do it itself.

        `make` gives the work, holding copies (of `nbytes` in all) of whatever others may change meanwhile.
        """
        return self.later is not None and self.later.take(make, nbytes)


F = TypeVar("F", bound=Callable[..., object])


def finishing_later(function: F) -> F:
    """Mark a node's function that may call `finish_later`: the engine allows it only where it calls that very function.

    Whoever else calls it, or wraps it, as packs do, finds all its work done when it returns.
    """
    function.__dict__["finishes_later"] = function
    return function


def finishes_later(function: Callable[..., object]) -> bool:
    """Tell whether a function, or the one behind a method, is marked itself and does not only wrap a marked one."""
    own = getattr(function, "__func__", function)
    return getattr(own, "finishes_later", None) is own


_current: ContextVar[RunContext | None] = ContextVar("weft_run_context", default=None)


def current() -> RunContext:
    """The context of the running call, or a silent one outside any prompt."""
    return _current.get() or RunContext()


@contextmanager
def entered(context: RunContext) -> Iterator[RunContext]:
    """Make `context` the current one inside a with block."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
