"""What is done when memory runs out: all models leave, the work is tried once more from the file, then told in figures.

Knows neither samplers nor autoencoders.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

from executor.errors import OutOfMemory
from executor.inference.devices import is_out_of_memory, total_bytes
from executor.inference.memory import Memory

logger = logging.getLogger("weft.inference")
Answer = TypeVar("Answer")


def attempt(memory: Memory, run: Callable[[], Answer]) -> Answer:
    """What `run` answers; when memory runs out, what it answers after every model has left and with streamed weights.

    Raises OutOfMemory with the figures of the second failure. Within an attempt that is such a second one already,
    an inner attempt is only a call.
    """
    if memory.is_tight:
        return run()
    found, told = _tried(memory, run)
    if told is None:
        return found()
    logger.warning("out of memory: %s; every model leaves, and it is tried once more with weights from the file", told)
    make_room(memory)
    with memory.tight():
        found, told = _tried(memory, run)
    if told is None:
        return found()
    make_room(memory)
    raise OutOfMemory(told)


def _tried(memory: Memory, run: Callable[[], Answer]) -> tuple[Callable[[], Answer], str | None]:
    """A function that gives the answer, or the figures of what was missing; the failed run's tensors are let go."""
    try:
        answer = run()
    except Exception as failure:
        if not is_out_of_memory(failure):
            raise
        return run, figures(memory, failure)
    return lambda: answer, None


def make_room(memory: Memory) -> None:
    """Let every model and all garbage leave."""
    gc.collect()
    memory.unload_all()


def figures(memory: Memory, failure: BaseException) -> str:
    """What was asked for, what is free of how much, and what is resident."""
    free, total = max(memory.free(), 0), total_bytes(memory.device)
    held = [(part.name, part.resident_bytes()) for part in memory.resident()]
    resident = [f"{name} {mebibytes(nbytes)}" for name, nbytes in held if nbytes]
    asked = memory.asked
    needed = f"{asked.name} needs {mebibytes(asked.weights)} and {mebibytes(asked.working)} to work in" if asked else ""
    told = [
        needed,
        f"{mebibytes(free)} of {mebibytes(total)} are free on {memory.device}",
        f"resident: {', '.join(resident) or 'nothing'}",
        str(failure).partition("\n")[0],
    ]
    return "; ".join(part for part in told if part)


def mebibytes(nbytes: int) -> str:
    """Bytes in MiB, rounded up."""
    return f"{-(-nbytes >> 20)} MiB"
