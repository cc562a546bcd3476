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

    def text(self) -> bytes:
        """The body of the answer."""
        jobs = self._store.running(), self._store.pending()
        if jobs != self._shown:  # jobs are never changed, only replaced: this compares identities, as a rule
            running, pending = (b", ".join(map(self._render, part)) for part in jobs)
            self._text = b'{"queue_running": [' + running + b'], "queue_pending": [' + pending + b"]}"
            self._shown = jobs
        return self._text
