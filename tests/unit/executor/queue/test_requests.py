"""What packs ask of the queue: in their order, but for what cannot wait for it."""

from __future__ import annotations

import asyncio

from executor.messages import Reply, Request
from executor.queue.requests import Requests

PATIENCE_S = 60.0


async def test_a_request_that_is_at_once_does_not_wait_for_the_one_before():
    may_end, sent = asyncio.Event(), asyncio.Queue[int]()

    async def answer(request: Request) -> bytes:
        if request.id == 1:
            await may_end.wait()
        return b"null"

    def send(worker: str, reply: Reply) -> None:
        sent.put_nowait(reply.id)

    requests = Requests(answer, send)
    for number, at_once in ((1, False), (2, False), (3, True)):
        requests.take("w0", Request(id=number, wish="queue", at_once=at_once))
    async with asyncio.timeout(PATIENCE_S):
        first = await sent.get()
        may_end.set()
        assert [first, await sent.get(), await sent.get()] == [3, 1, 2]
