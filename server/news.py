"""Takes in what workers tell of themselves: their nodes, their packs, their wishes. Knows no job and no event."""

from __future__ import annotations

from collections.abc import Callable

from executor.engine.base import WorkerInfo
from executor.errors import NotReady
from executor.files import Folders
from executor.messages import Finished, Packs, Ready, Refreshed, Request, Stats
from executor.queue.ears import Ears
from executor.queue.job import Job
from server.definitions import Definitions
from server.listing import split
from server.metrics import Metrics
from server.packs import PackHost
from server.wishes import Wishes


def _say_nothing(worker: str) -> None:
    """Tell a worker nothing."""


class News:
    """The ears of the dispatcher; `host` is the worker whose packs count."""

    def __init__(
        self,
        folders: Folders,
        definitions: Definitions,
        packs: PackHost,
        host: Callable[[], WorkerInfo],
        greet: Callable[[str], None] = _say_nothing,
    ) -> None:
        """`greet` tells a worker what its packs may know of the clients, once it is ready."""
        self._folders = folders
        self._definitions = definitions
        self._packs = packs
        self._host, self._greet = host, greet
        self.metrics: Metrics | None = None  # the same
        self.wishes: Wishes | None = None  # what meets them is made after the dispatcher

    def ears(self) -> Ears:
        """What the dispatcher calls."""
        return Ears(
            ready=self._ready,
            refreshed=self._refreshed,
            stats=self._stats,
            ended=self._ended,
            lost=self._lost,
            request=self._request,
            definitions=self._definitions.known,
            is_tied=lambda job: self._packs.is_tied(job, self._definitions.known()),
        )

    def _ready(self, worker: str, ready: Ready) -> None:
        self._definitions.update(ready)
        self._take(worker, ready.packs)
        self._greet(worker)

    def _refreshed(self, worker: str, news: Refreshed) -> None:
        classes = {definition.name: definition for definition in news.definitions}
        if classes:
            self._definitions.merge(classes, split(news.wire_json))
        self._take(worker, news.packs)

    def _take(self, worker: str, packs: Packs) -> None:
        self._folders.learn(packs.folders)
        if worker == self._host().id:
            self._packs.take(packs)

    def _stats(self, worker: str, told: Stats) -> None:
        if self.metrics is not None:
            self.metrics.stats(worker, told)

    def _ended(self, job: Job, told: Finished) -> None:
        if self.metrics is not None:
            self.metrics.ended(job, told)

    def _lost(self, worker: str) -> None:
        if worker == self._host().id:
            self._packs.lose()

    async def _request(self, request: Request) -> bytes:
        if self.wishes is None:
            raise NotReady("the queue is not open yet")
        return await self.wishes.meet(request)
