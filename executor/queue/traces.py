"""Jobs whose run is traced for somebody who waits for that. In memory only: who waits does not outlive the front."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import structs

from executor.messages import Run


class Traces:
    """Which jobs are traced, and where to; ids of jobs are those that the server made for this."""

    def __init__(self) -> None:
        self._wanted: dict[str, tuple[Path, bool]] = {}

    @contextmanager
    def wanted(self, job_id: str, path: Path, *, operators: bool) -> Iterator[None]:
        """Within the block a job of this id is traced to a file, with torch's operators if they are wanted."""
        self._wanted[job_id] = path, operators
        try:
            yield
        finally:
            del self._wanted[job_id]

    def told(self, run: Run) -> Run:
        """What a worker is told to run, with the trace that is wanted of it."""
        if run.job_id not in self._wanted:
            return run
        path, operators = self._wanted[run.job_id]
        return structs.replace(run, trace=str(path), trace_operators=operators)
