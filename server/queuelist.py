"""The answer of GET /queue, made anew only when the queue has changed. Knows no requests."""

from __future__ import annotations

from executor.queue.job import Job
from executor.queue.store import Store


class QueueList:
    """What runs and what waits as JSON text; `id_first` writes items as `--queue-items id-first` wants them."""

    def __init__(self, store: Store, *, id_first: bool) -> None:
        self._store = store
        self._render = Job.short_item_json if id_first else Job.item_json
        self._shown: tuple[list[Job], list[Job]] | None = None
        self._text = b""

    def text(self, owner: str | None = None) -> bytes:
        """The body of the answer: of one owner's jobs, or of all."""
        jobs = self._store.running(owner), self._store.pending(owner)
        if owner is not None:
            return self._rendered(*jobs)
        if jobs != self._shown:  # jobs are never changed, only replaced: this compares identities, as a rule
            self._text = self._rendered(*jobs)
            self._shown = jobs
        return self._text

    def _rendered(self, running: list[Job], pending: list[Job]) -> bytes:
        texts = [b", ".join(map(self._render, jobs)) for jobs in (running, pending)]
        return b'{"queue_running": [' + texts[0] + b'], "queue_pending": [' + texts[1] + b"]}"
