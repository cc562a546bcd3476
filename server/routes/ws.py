"""GET /ws: the websocket of events."""

from __future__ import annotations

import asyncio
import json
import uuid

from aiohttp import WSMsgType, web

from server.frames import text_frame
from server.hub import Client, Frame
from server.routes.events import event_number, replay_for
from server.routes.system import features
from server.state import Front, front, space

ROUTES = web.RouteTableDef()

LONGEST_FLAGS = 1 << 16
"""Characters of a frame that may be one of feature flags."""
AT_ONCE = 50
"""Messages of one client that are read before others have their turn."""


@ROUTES.get("/ws")
async def get_ws(request: web.Request) -> web.WebSocketResponse:
    """Open the event stream of a client; the first frame tells the queue's length and the session's id.

    With `last_event` the frames of events carry their numbers, and those after that number come first.
    """
    here, own, last = front(request), space(request), request.query.get("last_event")
    sid = request.query.get("clientId") or uuid.uuid4().hex
    if last:
        event_number(last)
    socket = web.WebSocketResponse(compress=False, max_msg_size=1 << 20, autoping=False)
    writer = await socket.prepare(request)
    transport = request.transport

    async def write(frames: bytes) -> None:
        if transport is None or transport.is_closing() or socket.closed:
            raise ConnectionResetError("the websocket is closed")
        transport.write(frames)
        await writer.drain()

    client = Client(
        sid=sid,
        socket=socket,
        abort=transport.abort if transport else lambda: None,
        write=write,
        numbered=last is not None,
        owner=own.mark,
    )
    replay = None if last is None else await replay_for(here, own, last, sid)
    greeting = [Frame(text_frame("status", {**here.dispatcher.status(own.owner), "sid": sid}))]
    if replay is not None:  # nothing may be awaited from here on: what comes now is told live
        greeting += here.hub.greeting_of(replay.all())
    await here.hub.attend(client, greeting, lambda: _read(here, client))
    return socket


async def _read(here: Front, client: Client) -> None:
    """Read until the client is gone. Only feature flags are heard, and only as the first valid frame."""
    first, count = True, 0
    async for message in client.socket:
        count += 1
        if count % AT_ONCE == 0:  # many small messages come at once, and reading them waits for nothing
            await asyncio.sleep(0)
        if message.type is WSMsgType.PING:
            try:
                await client.socket.pong(message.data)
            except ConnectionError:
                return
        if not first or message.type is not WSMsgType.TEXT or len(message.data) > LONGEST_FLAGS:
            continue
        try:
            value = json.loads(message.data)
        except (ValueError, RecursionError):
            continue
        first = False
        if isinstance(value, dict) and value.get("type") == "feature_flags":
            flags = value.get("data")
            here.hub.take_flags(client, flags if isinstance(flags, dict) else {})
            client.put(Frame(text_frame("feature_flags", features(here.settings))))
