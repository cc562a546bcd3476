"""Frames byte for byte, against ones recorded from the reference server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from executor.messages import Blob
from server import frames
from server.hub import Frame

RECORDED = json.loads((Path(__file__).parents[2] / "data" / "ws_binary_frames.json").read_text())["frames"]
PICTURE = bytes.fromhex(RECORDED[0]["hex"])[8:]


def recorded(event):
    return next(bytes.fromhex(frame["hex"]) for frame in RECORDED if frame["event"] == event)


def test_preview():
    blob = Blob(job_id="p", kind="preview", node_id="1", image_type="image/png", body=PICTURE)
    assert frames.preview_frame(blob) == recorded(1)


def test_preview_with_metadata():
    prompt_id = "6f9f2c5e-0000-4000-8000-000000000001"
    header = {
        "node_id": "1",
        "prompt_id": prompt_id,
        "display_node_id": "1",
        "parent_node_id": None,
        "real_node_id": "1",
    }
    blob = Blob(
        job_id=prompt_id,
        kind="preview",
        node_id="1",
        header_json=json.dumps(header).encode(),
        image_type="image/png",
        body=PICTURE,
    )
    assert frames.preview_with_metadata_frame(blob) == recorded(4)


def test_text():
    text = b"width: 24, height: 16\n batch size: 3"
    blob = Blob(job_id="p", kind="text", node_id=recorded(3)[8:9].decode(), body=text)
    assert frames.progress_text_frame(blob) == recorded(3)


@pytest.mark.parametrize("data", [{"a": float("nan"), "b": 2**70, "c": "ä"}, None, []])
def test_json_data_goes_through_untouched(data):
    text = json.dumps(data)
    assert frames.text_frame_of_json("e", text.encode()) == frames.text_frame("e", data)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 70_000])
@pytest.mark.parametrize("is_text", [True, False])
async def test_messages_on_the_wire_are_what_websockets_read(stand, size, is_text):
    socket = await stand.client.ws_connect("/ws?clientId=me", max_msg_size=0)
    await socket.receive_json()
    payload = "x" * size if is_text else b"x" * size
    stand.front.hub._clients["", "me"].put(Frame(payload))
    message = await socket.receive(timeout=60)
    assert message.data == payload
    await socket.close()
