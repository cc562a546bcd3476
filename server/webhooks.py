"""Tells receivers how jobs ended, again and again until they have it. Knows no jobs.

So many at once, and fewer for one receiver, that a slow one delays neither prompts nor other receivers. A try that
was made and not noted (the server ended) is made again: receivers fold by `webhook-id`.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count

from executor.errors import WeftError
from executor.queue.deliveries import Deliveries, Delivery
from executor.queue.job import about
from server.addresses import origin
from server.hooks import MOST_TRIES, headers_of, pause_s
from server.outbound import Outbound

log = logging.getLogger("weft.webhooks")

AT_ONCE = 16
AT_ONCE_EACH = 4
TRY_S = 15.0
GONE = 410
TROUBLE_S = 60.0  # before what this server itself failed at is tried again
LOST_SECRET = "its secret was kept in memory only, and the server has started anew; --webhook-secret lasts"

Pause = Callable[[int, str | None, float], float]


class Webhooks:
    """The sender of one server's deliveries; `secret` signs those of jobs that brought none of their own."""

    def __init__(
        self,
        deliveries: Deliveries,
        outbound: Outbound,
        secret: str | None,
        *,
        told: Callable[[str], None] = lambda outcome: None,
        pause: Pause = pause_s,
    ) -> None:
        self._deliveries, self._outbound, self._secret = deliveries, outbound, secret
        self._told, self._pause = told, pause
        self._due: dict[str, list[tuple[int, int, Delivery]]] = {}  # by receiver: heaps by time
        self._order = count()
        self._busy: Counter[str] = Counter()
        self._tries: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send; the store must be open."""
        self._deliveries.on_new = self._take
        self._take(self._deliveries.waiting())
        self._task = asyncio.create_task(self._serve(), name="weft-webhooks")

    async def stop(self) -> None:
        """Stop sending; what is under way is tried again at the next start."""
        tasks = [*([self._task] if self._task is not None else []), *self._tries]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self) -> None:
        while True:
            self._wake.clear()
            pause = self._begin()
            try:
                await asyncio.wait_for(self._wake.wait(), pause)
            except TimeoutError:
                continue

    def _take(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._queue(delivery)
        self._wake.set()

    def _queue(self, delivery: Delivery) -> None:
        heap = self._due.setdefault(origin(delivery.url), [])
        heapq.heappush(heap, (delivery.next_ms, next(self._order), delivery))

    def _begin(self) -> float | None:
        """Begin the tries that are due as far as there is room; the seconds until the next is due, None for none."""
        now_ms = time.time() * 1000
        nearest: float | None = None
        for receiver, heap in list(self._due.items()):
            while heap and self._has_room(receiver) and heap[0][0] <= now_ms:
                self._try(receiver, heapq.heappop(heap)[2])
            if not heap:
                del self._due[receiver]
            elif self._has_room(receiver):
                pause = max(0.0, (heap[0][0] - now_ms) / 1000)
                nearest = pause if nearest is None else min(nearest, pause)
        return nearest

    def _has_room(self, receiver: str) -> bool:
        return len(self._tries) < AT_ONCE and self._busy[receiver] < AT_ONCE_EACH

    def _try(self, receiver: str, delivery: Delivery) -> None:
        self._busy[receiver] += 1
        task = asyncio.create_task(self._deliver(delivery), name=f"webhook {delivery.id}")
        self._tries.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tries.discard(task)
            self._busy -= Counter({receiver: 1})
            self._wake.set()
            if not task.cancelled() and (failure := task.exception()) is not None:
                log.error("webhook %s could not be tried", delivery.id, exc_info=failure)
                self._queue(replace(delivery, next_ms=round((time.time() + TROUBLE_S) * 1000)))

        task.add_done_callback(done)

    async def _deliver(self, delivery: Delivery) -> None:
        after = await self._after_try(delivery)
        _tell(after)
        self._told("failed" if after.state == "waiting" else after.state)
        try:
            await self._deliveries.settle(after)
        except sqlite3.Error:  # in memory it is noted: what is over is at worst told again after a restart
            log.exception("what came of webhook %s could not be stored", after.id, extra=about(after.prompt_id))
        if after.state == "waiting":
            self._queue(after)

    async def _after_try(self, delivery: Delivery) -> Delivery:
        """The delivery as it stands after one more try."""
        secret = delivery.secret if delivery.own_secret else self._secret
        if delivery.own_secret and secret is None:
            return replace(delivery, state="given_up", reason=LOST_SECRET)
        body = await self._deliveries.body(delivery)
        headers = headers_of(delivery.id, body, int(time.time()), secret)
        tried = replace(delivery, tries=delivery.tries + 1, status=None, reason=None)
        wish = None
        try:
            answer = await self._outbound.post(delivery.url, body, headers, timeout_s=TRY_S)
        except WeftError as error:
            tried = replace(tried, reason=str(error))
        else:
            if 200 <= answer.status < 300:
                return replace(tried, state="delivered", status=answer.status)
            wish = answer.retry_after
            tried = replace(tried, status=answer.status, reason=f"the receiver answered {answer.status}")
        if tried.status == GONE or tried.tries >= MOST_TRIES:
            return replace(tried, state="given_up")
        now_s = time.time()
        return replace(tried, next_ms=round((now_s + self._pause(tried.tries, wish, now_s)) * 1000))


def _tell(delivery: Delivery) -> None:
    """Log what came of a try; of the address only where it lies."""
    where, extra = origin(delivery.url), about(delivery.prompt_id)
    if delivery.state == "delivered":
        log.info("webhook of prompt %s delivered to %s", delivery.prompt_id, where, extra=extra)
    elif delivery.state == "given_up":
        text = "webhook of prompt %s to %s given up after %d tries: %s"
        log.warning(text, delivery.prompt_id, where, delivery.tries, delivery.reason, extra=extra)
    else:
        text = "webhook of prompt %s to %s: %s; try %d comes in %.0f s"
        pause = delivery.next_ms / 1000 - time.time()
        log.warning(text, delivery.prompt_id, where, delivery.reason, delivery.tries + 1, pause, extra=extra)
