"""Webhooks from a job's end to a real receiver: durable, signed, tried again, and in nobody's way."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from server.hooks import headers_of
from server.webhooks import AT_ONCE_EACH, Webhooks
from tests.unit.server.conftest import GRAPH, Stand

SECRET = "a secret of some length"
LOCAL = ("127.0.0.1",)


class Receiver:
    """A server that notes what it is told and answers as a test says."""

    def __init__(self) -> None:
        self.url = ""
        self.heard: list[tuple[dict, bytes]] = []
        self.news = asyncio.Event()
        self.answers: list[web.Response] = []  # the next ones; then 204
        self.gate: asyncio.Event | None = None
        self.open = 0
        self.most_open = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            self.heard.append((dict(request.headers), await request.read()))
            self.news.set()
            if self.gate is not None:
                await self.gate.wait()
            return self.answers.pop(0) if self.answers else web.Response(status=204)
        finally:
            self.open -= 1

    async def until(self, count: int) -> None:
        """Wait until so many tries were heard."""
        async with asyncio.timeout(60):
            while len(self.heard) < count:
                self.news.clear()
                await self.news.wait()

    def told(self, number: int = 0) -> dict:
        """The body of one try."""
        return json.loads(self.heard[number][1])


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    receiver.url = f"http://127.0.0.1:{server.port}/hook?token=hidden"
    yield receiver
    if receiver.gate is not None:
        receiver.gate.set()
    await server.close()


@pytest.fixture
async def make_calling(make_stand) -> AsyncIterator[Callable[..., Awaitable[Stand]]]:
    """Build fronts that send webhooks and try again at once."""
    senders: list[Webhooks] = []

    async def make(**options: object) -> Stand:
        stand = await make_stand(allow_outbound=LOCAL, **options)
        stand.front.webhooks._pause = lambda tries, wish, now_s: 0.0
        stand.front.webhooks.start()
        senders.append(stand.front.webhooks)
        return stand

    yield make
    for sender in senders:
        await sender.stop()


async def submit(stand: Stand, webhook: object, **more: object) -> str:
    return str((await stand.submit(extra_data={"webhook": webhook}, **more))["prompt_id"])


async def state(stand: Stand, prompt_id: str) -> list[dict]:
    async with stand.get(f"/weft/jobs/{prompt_id}") as answer:
        return (await answer.json())["webhooks"]


async def settled(stand: Stand) -> None:
    """Wait until nothing is to be told any more."""
    async with asyncio.timeout(60):
        while stand.front.store.deliveries.waiting() or stand.front.webhooks._tries:
            await asyncio.sleep(0.01)


async def test_the_end_of_a_job_is_told_once_and_signed(make_calling, receiver):
    stand = await make_calling()
    prompt_id = await submit(stand, {"url": receiver.url, "secret": SECRET})
    assert [hook["state"] for hook in await state(stand, prompt_id)] == ["pending"]
    await stand.engine.succeed({"2": {"text": ["hi"]}})
    await receiver.until(1)
    await settled(stand)
    headers, body = receiver.heard[0]
    told = receiver.told()
    assert (told["type"], told["data"]["prompt_id"]) == ("job.succeeded", prompt_id)
    assert told["data"]["outputs"] == {"2": {"text": ["hi"]}}
    expected = headers_of(headers["webhook-id"], body, int(headers["webhook-timestamp"]), SECRET)
    assert headers["webhook-signature"] == expected["webhook-signature"]
    (hook,) = await state(stand, prompt_id)
    assert (hook["state"], hook["tries"], hook["status"]) == ("delivered", 1, 204)
    assert len(receiver.heard) == 1


async def test_address_and_secret_are_shown_nowhere(make_calling, receiver, caplog):
    caplog.set_level(logging.DEBUG)
    stand = await make_calling()
    prompt_id = await submit(stand, {"url": receiver.url, "secret": SECRET})
    seen = []
    for path in ("/queue", f"/weft/jobs/{prompt_id}"):
        async with stand.get(path) as answer:
            seen.append(await answer.text())
    await stand.engine.succeed()
    await settled(stand)
    await stand.idle()
    for path in ("/history", f"/weft/jobs/{prompt_id}", f"/api/jobs/{prompt_id}", "/metrics"):
        async with stand.get(path) as answer:
            seen.append(await answer.text())
    seen += [record.getMessage() for record in caplog.records if record.name.startswith("weft")]
    text = "".join(seen) + repr(stand.engine.runs[0])
    assert prompt_id in text
    assert "token=hidden" not in text
    assert SECRET not in text
    raw = b"".join(path.read_bytes() for path in (stand.base / "user").glob("queue.sqlite3*"))
    assert SECRET.encode() not in raw


async def test_a_failure_is_tried_again_with_the_same_id_and_body(make_calling, receiver):
    stand = await make_calling()
    receiver.answers = [web.Response(status=500), web.Response(status=302, headers={"Location": "/"})]
    await submit(stand, receiver.url)
    await stand.engine.succeed()
    await receiver.until(3)
    await settled(stand)
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1
    assert len({body for _, body in receiver.heard}) == 1
    assert "webhook-signature" not in receiver.heard[0][0]


async def test_gone_ends_it(make_calling, receiver):
    stand = await make_calling()
    receiver.answers = [web.Response(status=410)]
    prompt_id = await submit(stand, receiver.url)
    await stand.engine.succeed()
    await receiver.until(1)
    await settled(stand)
    (hook,) = await state(stand, prompt_id)
    assert (hook["state"], hook["tries"], hook["status"]) == ("given_up", 1, 410)


async def test_after_so_many_tries_it_is_given_up(make_calling, receiver):
    stand = await make_calling()
    receiver.answers = [web.Response(status=503) for _ in range(99)]
    prompt_id = await submit(stand, receiver.url)
    await stand.engine.succeed()
    await receiver.until(15)
    await settled(stand)
    (hook,) = await state(stand, prompt_id)
    assert (hook["state"], hook["tries"], hook["reason"]) == ("given_up", 15, "the receiver answered 503")
    async with stand.get("/metrics") as answer:
        text = await answer.text()
    assert 'weft_webhook_tries_total{outcome="failed"} 14.0' in text
    assert 'weft_webhook_tries_total{outcome="given_up"} 1.0' in text
    assert "weft_webhooks_waiting 0.0" in text


async def test_what_waits_is_told_after_a_restart(make_calling, receiver):
    before = await make_calling(webhook_secret=SECRET)
    await before.front.webhooks.stop()
    prompt_id = await submit(before, receiver.url)
    await before.engine.succeed()
    await before.idle()
    assert receiver.heard == []
    await before.stop()
    after = await make_calling(webhook_secret=SECRET)
    await receiver.until(1)
    await settled(after)
    assert receiver.told()["data"]["prompt_id"] == prompt_id
    assert "webhook-signature" in receiver.heard[0][0]


async def test_a_job_that_waits_over_a_restart_keeps_its_webhook(make_calling, receiver):
    before = await make_calling()
    await submit(before, {"url": receiver.url, "events": ["succeeded"]})
    await before.engine.job()
    await before.stop()
    after = await make_calling()
    await after.engine.succeed()
    await receiver.until(1)
    await settled(after)


async def test_a_secret_of_a_job_does_not_outlive_the_server_and_nothing_goes_unsigned(make_calling, receiver):
    before = await make_calling()
    prompt_id = await submit(before, {"url": receiver.url, "secret": SECRET})
    await before.engine.job()
    await before.stop()
    after = await make_calling(webhook_secret="the secret of the server")
    await after.engine.succeed()
    await after.idle()
    await settled(after)
    (hook,) = await state(after, prompt_id)
    assert (hook["state"], receiver.heard) == ("given_up", [])
    assert "--webhook-secret" in hook["reason"]


async def test_every_job_is_told_where_the_server_was_told_so(make_calling, receiver):
    stand = await make_calling(webhook=receiver.url, webhook_secret=SECRET)
    await stand.submit()
    await stand.engine.succeed()
    await receiver.until(1)
    own = await submit(stand, receiver.url + "&own")
    await stand.engine.succeed()
    await receiver.until(3)
    await settled(stand)
    assert [hook["state"] for hook in await state(stand, own)] == ["delivered", "delivered"]


async def test_only_the_wished_ends_are_told_removed_jobs_among_them(make_calling, receiver):
    stand = await make_calling()
    await submit(stand, {"url": receiver.url, "events": ["failed"]})
    await stand.engine.job()
    removed = await submit(stand, receiver.url)
    async with stand.post("/queue", json={"delete": [removed]}) as answer:
        assert answer.status == 200
    await receiver.until(1)
    stand.engine.given.set()
    await stand.engine.succeed()
    await stand.idle()
    await settled(stand)
    assert [receiver.told(number)["type"] for number in range(len(receiver.heard))] == ["job.removed"]


async def test_a_slow_receiver_delays_no_prompt_and_gets_few_at_a_time(make_calling, receiver):
    stand = await make_calling()
    receiver.gate = asyncio.Event()
    for _ in range(AT_ONCE_EACH + 3):
        await submit(stand, receiver.url)
        await stand.engine.succeed()
    await stand.idle()
    await receiver.until(AT_ONCE_EACH)
    assert len(receiver.heard) == AT_ONCE_EACH
    receiver.gate.set()
    await settled(stand)
    assert (receiver.most_open, len(receiver.heard)) == (AT_ONCE_EACH, AT_ONCE_EACH + 3)


async def test_a_private_address_is_refused_at_once_or_by_its_name_at_each_try(make_stand, receiver):
    stand = await make_stand()
    body = {"prompt": GRAPH, "extra_data": {"webhook": receiver.url}}
    async with stand.post("/prompt", json=body) as answer:
        assert (answer.status, "loopback" in await answer.text()) == (400, True)
    stand.front.webhooks.start()
    prompt_id = await submit(stand, receiver.url.replace("127.0.0.1", "localhost"))
    await stand.engine.succeed()
    async with asyncio.timeout(60):
        while not (hooks := await state(stand, prompt_id)) or not hooks[0]["tries"]:
            await asyncio.sleep(0.01)
    await stand.front.webhooks.stop()
    assert (hooks[0]["state"], "loopback" in hooks[0]["reason"]) == ("waiting", True)
    assert receiver.heard == []


async def test_a_job_without_webhook_leaves_no_row(make_calling):
    stand = await make_calling()
    await stand.submit()
    await stand.engine.succeed()
    await stand.idle()
    rows = await stand.front.store._database.run(
        lambda connection: connection.execute("SELECT count(*) FROM deliveries").fetchone()
    )
    assert rows == (0,)
