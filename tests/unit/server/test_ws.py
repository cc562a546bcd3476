"""GET /ws: greeting, flags, who hears what."""

from __future__ import annotations

import re
import struct

import pytest

from server import hub


async def opened(stand, sid=None, path="/ws"):
    """A socket that has heard its greeting."""
    socket = await stand.client.ws_connect(path, params={"clientId": sid} if sid else {})
    greeting = await socket.receive_json(timeout=60)
    return socket, greeting


async def heard_until(socket, event):
    """Types of the text frames up to and with `event`."""
    heard = []
    while not heard or heard[-1] != event:
        heard.append((await socket.receive_json(timeout=60))["type"])
    return heard


async def test_greeting_is_the_status_with_the_session_id(stand):
    _, greeting = await opened(stand, "me")
    assert greeting == {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "me"}}


async def test_session_id_is_made_when_none_is_given(stand):
    _, greeting = await opened(stand, path="/api/ws")
    assert re.fullmatch("[0-9a-f]{32}", greeting["data"]["sid"])


async def test_type_is_the_first_key(stand):
    socket = await stand.client.ws_connect("/ws")
    assert (await socket.receive_str(timeout=60)).startswith('{"type": "status", "data": {')


async def test_flags_are_answered_once(stand):
    socket, _ = await opened(stand, "me")
    for _ in range(2):
        await socket.send_json({"type": "feature_flags", "data": {}})
    answer = await socket.receive_json(timeout=60)
    assert answer["type"] == "feature_flags"
    assert answer["data"]["max_upload_size"] == 100 * 1024 * 1024
    await stand.submit()
    assert (await socket.receive_json(timeout=60))["type"] == "status"


async def test_flags_count_only_as_the_first_valid_frame(stand):
    socket, _ = await opened(stand, "me")
    await socket.send_str("{broken")
    await socket.send_json({"type": "other"})
    await socket.send_json({"type": "feature_flags", "data": {}})
    await stand.submit()
    assert (await socket.receive_json(timeout=60))["type"] == "status"


async def test_owner_hears_the_end_after_the_row_is_stored(stand):
    socket, _ = await opened(stand, "me")
    await stand.submit(prompt_id="p", client_id="me")
    await stand.engine.succeed()
    assert await heard_until(socket, "executing") == ["status", "status", "execution_success", "status", "executing"]
    assert "p" in await (await stand.get("/history/p")).json()


async def test_others_hear_status_only(stand):
    socket, _ = await opened(stand, "other")
    await stand.submit(client_id="me")
    await stand.engine.succeed()
    await stand.idle()
    stand.engine.emit("marker", {}, owner=None, audience="all")
    assert await heard_until(socket, "marker") == ["status", "status", "status", "marker"]


async def test_second_connection_takes_the_id_over(stand):
    first, _ = await opened(stand, "me")
    second, _ = await opened(stand, "me")
    stand.engine.emit("executed", {}, owner="me")
    assert (await second.receive_json(timeout=60))["type"] == "executed"
    stand.engine.emit("marker", {}, owner="me")
    with pytest.raises(TimeoutError):
        await first.receive_json(timeout=0.05)


async def test_closing_the_older_connection_leaves_the_newer_one(stand):
    first, _ = await opened(stand, "me")
    second, _ = await opened(stand, "me")
    await first.close()
    stand.engine.emit("executed", {}, owner="me")
    assert (await second.receive_json(timeout=60))["type"] == "executed"


async def test_reconnect_tells_the_node_at_work(stand):
    socket, _ = await opened(stand, "me")
    stand.engine.emit("executing", {"node": "7", "prompt_id": "p"}, owner="me")
    await heard_until(socket, "executing")
    await socket.close()
    socket, _ = await opened(stand, "me")
    assert await socket.receive_json(timeout=60) == {"type": "executing", "data": {"node": "7"}}


async def test_reconnect_after_the_end_tells_no_node(stand):
    stand.engine.emit("executing", {"node": "7"}, owner="me")
    stand.engine.emit("executing", {"node": None, "prompt_id": "p"}, owner="me")
    stand.engine.emit("marker", {}, owner=None, audience="all")
    socket, _ = await opened(stand, "other")
    await stand.submit()
    await heard_until(socket, "status")
    socket, _ = await opened(stand, "me")
    stand.engine.emit("marker", {}, owner="me")
    assert "executing" not in await heard_until(socket, "marker")


async def test_preview_goes_to_its_owner_as_event_1(stand):
    socket, _ = await opened(stand, "me")
    stand.engine.preview(b"jpeg", owner="me")
    assert await socket.receive_bytes(timeout=60) == struct.pack(">II", 1, 1) + b"jpeg"


async def test_preview_carries_metadata_for_who_asked(stand):
    socket, _ = await opened(stand, "me")
    await socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    await heard_until(socket, "feature_flags")
    stand.engine.preview(b"jpeg", owner="me")
    assert (await socket.receive_bytes(timeout=60))[:4] == struct.pack(">I", 4)


@pytest.mark.parametrize(("flags", "order"), [({"supports_preview_metadata": True}, [4, "step"]), ({}, ["step", 1])])
async def test_step_comes_after_a_picture_with_metadata_and_before_a_plain_one(stand, flags, order):
    socket, _ = await opened(stand, "me")
    await socket.send_json({"type": "feature_flags", "data": flags})
    await heard_until(socket, "feature_flags")
    stand.engine.preview(b"jpeg", owner="me", step={"value": 1, "max": 2})
    heard = [await socket.receive(timeout=60), await socket.receive(timeout=5)]
    kinds = [int.from_bytes(told.data[:4]) if isinstance(told.data, bytes) else "step" for told in heard]
    assert kinds == order
    (step,) = [told.json() for told in heard if isinstance(told.data, str)]
    assert step == {"type": "progress", "data": {"value": 1, "max": 2}}


async def test_preview_without_owner_goes_to_everybody(stand):
    socket, _ = await opened(stand, "me")
    stand.engine.preview(b"jpeg", owner=None)
    assert (await socket.receive_bytes(timeout=60))[-4:] == b"jpeg"


async def test_foreign_page_may_not_listen(stand):
    answer = await stand.get("/ws", headers={"Origin": "http://evil.example"})
    assert answer.status == 403


async def test_client_that_never_reads_delays_nobody_and_is_cut_off(stand, monkeypatch):
    monkeypatch.setattr(hub, "MOST_BYTES", 1 << 20)
    deaf, _ = await opened(stand, "deaf")
    hearing, _ = await opened(stand, "hearing")
    text = "x" * 100_000
    for _ in range(200):
        stand.front.hub.publish("note", text, audience="owner", client_id="deaf")
        stand.front.hub.publish("note", 1, audience="owner", client_id="hearing")
        assert await hearing.receive_json(timeout=60) == {"type": "note", "data": 1}
    await stand.submit(client_id="hearing")
    assert (await hearing.receive_json(timeout=60))["type"] == "status"
    heard = [message async for message in deaf]
    assert len(heard) < 200
