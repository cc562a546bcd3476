"""The value that stops what depends on it. Knows no graph."""

from __future__ import annotations


class ExecutionBlocker:
    """An output value: a node that gets one is not called, and everything after it is blocked in turn.

    With a message the first blocked consumer tells it to the client; without one it is silent (execution.md section 5).
    """

    __slots__ = ("message",)

    def __init__(self, message: str | None = None) -> None:
        self.message = message

    def __repr__(self) -> str:
        return f"ExecutionBlocker({self.message!r})"
