"""A client on the websocket: follows a prompt step by step and keeps the previews and the picture.

Run it beside a server (`make run`):  .venv/bin/python examples/websocket_client.py [--url URL] [--folder FOLDER]
The key of a server that asks for one is read from the environment: WEFT_TOKEN.
"""

import argparse
import asyncio
import errno
import json
import os
import struct
import sys
import uuid
from pathlib import Path

import aiohttp

GRAPH = Path(__file__).with_name("text_to_image.json")
PREVIEW = 1  # first big-endian number of a binary frame; the second tells the form of the picture
ENDINGS = {1: "jpg", 2: "png"}


def headers() -> dict[str, str]:
    """What a server with keys wants to see: the key that the environment holds."""
    token = os.environ.get("WEFT_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


async def follow(socket: aiohttp.ClientWebSocketResponse, prompt_id: str, folder: Path) -> list[dict[str, str]]:
    """Read frames until the prompt ends; return the pictures that it saved."""
    images: list[dict[str, str]] = []
    previews = 0
    async for message in socket:
        if message.type is aiohttp.WSMsgType.BINARY:
            kind, form = struct.unpack(">II", message.data[:8])
            if kind == PREVIEW:
                previews += 1
                (folder / f"preview_{previews:02}.{ENDINGS[form]}").write_bytes(message.data[8:])
            continue
        if message.type is not aiohttp.WSMsgType.TEXT:
            continue
        event = json.loads(message.data)
        data = event["data"]
        if data.get("prompt_id", prompt_id) != prompt_id:
            continue
        match event["type"]:
            case "progress":
                print(f"step {data['value']} of {data['max']}")
            case "executing" if data["node"] is None:
                print(f"done, {previews} preview(s)")
                return images
            case "executing":
                print(f"node {data['node']}")
            case "executed":
                images.extend((data["output"] or {}).get("images", []))
            case "execution_error":
                raise RuntimeError(f"{data['node_type']}: {data['exception_message']}")
            case "execution_interrupted":
                raise RuntimeError(f"somebody stopped the prompt at {data['node_type']}")
    raise ConnectionError("the server closed the connection")


async def draw(server: str, folder: Path) -> None:
    """Submit the example graph, follow it, download the result."""
    client_id = uuid.uuid4().hex
    async with (
        aiohttp.ClientSession(server, headers=headers()) as session,
        session.ws_connect(f"/ws?clientId={client_id}", max_msg_size=0) as socket,
    ):
        body = {"prompt": json.loads(GRAPH.read_text(encoding="utf-8")), "client_id": client_id}
        async with session.post("/prompt", json=body) as response:
            if response.status in (401, 403):
                response.raise_for_status()
            answer = await response.json()
            if response.status != 200:
                raise RuntimeError(f"the server refused the graph: {json.dumps(answer)}")
        for image in await follow(socket, answer["prompt_id"], folder):
            async with session.get("/view", params=image) as response:
                response.raise_for_status()
                path = folder / image["filename"]
                path.write_bytes(await response.read())
                print(f"Saved {path}")


def hindrance(url: str, error: Exception) -> str:
    """What hindered the client, and what helps, as a sentence."""
    if isinstance(error, aiohttp.ClientConnectorError) and error.errno == errno.ECONNREFUSED:
        return f"No server answers at {url}: start one with `make run`, or give its address by --url."
    if isinstance(error, aiohttp.ClientResponseError) and error.status in (401, 403):
        return f"The server at {url} asks for a key that may do this: give it as WEFT_TOKEN in the environment."
    return f"{url}: {error}"


def main() -> None:
    """Draw as the command line says; what fails is told in a sentence."""
    parser = argparse.ArgumentParser(description="Draws a red circle and keeps what can be seen of it on the way.")
    parser.add_argument("--url", default="http://127.0.0.1:8188", help="address of the server")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the pictures go")
    told = parser.parse_args()
    try:
        asyncio.run(draw(told.url.rstrip("/"), told.folder))
    except (aiohttp.ClientError, RuntimeError, OSError) as error:
        sys.exit(hindrance(told.url, error))


if __name__ == "__main__":
    main()
