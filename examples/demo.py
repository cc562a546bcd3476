"""`make demo`: starts a server on a free port, submits the README's graph as a client would, tells the picture's path.

It speaks to the server over HTTP and the websocket only.
"""

import argparse
import asyncio
import contextlib
import json
import re
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
GRAPH = Path(__file__).with_name("text_to_image.json")
LISTENING = re.compile(r"listening on (https?://\S+)")
START_LIMIT_S = 120.0
STOP_LIMIT_S = 20.0

Image = dict[str, str]


class DemoFailed(Exception):
    """The demo cannot go on; the message tells the user why."""


class Server:
    """A server process and the last lines that it wrote."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: deque[str] = deque(maxlen=40)
        self.url: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def read(self) -> None:
        """Take in what the server writes, so that its pipe never fills; find its address."""
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self.lines.append(line)
            found = LISTENING.search(line)
            if found and not self.url.done():
                self.url.set_result(found[1])
        if not self.url.done():
            self.url.set_exception(DemoFailed("The server ended before it listened:\n" + "\n".join(self.lines)))

    async def stop(self) -> None:
        """Ask the process to end, and end it when it does not."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), STOP_LIMIT_S)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


@contextlib.asynccontextmanager
async def started(output: Path) -> AsyncIterator[Server]:
    """A running server on a free port, stopped at the end. It has a queue of its own beside the user's."""
    with tempfile.TemporaryDirectory(prefix="weft-demo-") as scratch:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server", "--port", "0", "--base-directory", str(ROOT)),
            *("--output-directory", str(output), "--user-directory", scratch, "--temp-directory", scratch),
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
        )
        server = Server(process)
        reader = asyncio.create_task(server.read())
        try:
            yield server
        finally:
            await server.stop()
            await reader
            server.url.cancelled() or server.url.exception()


async def submit(session: aiohttp.ClientSession, graph: object, client_id: str) -> str:
    """Put the graph into the queue; wait and try again while the server has no worker yet."""
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        async with session.post("/prompt", json={"prompt": graph, "client_id": client_id}) as response:
            if response.status == 503 and time.monotonic() < deadline:
                await asyncio.sleep(float(response.headers.get("Retry-After", "2")))
                continue
            if response.status != 200:
                raise DemoFailed(f"The server refused the graph ({response.status}): {await response.text()}")
            return str((await response.json())["prompt_id"])


async def follow(socket: aiohttp.ClientWebSocketResponse, prompt_id: str) -> list[Image]:
    """Show the websocket's progress events as a bar until the prompt ends; return what it saved."""
    images: list[Image] = []
    with tqdm(desc="Loading", unit="step", file=sys.stdout, dynamic_ncols=True) as bar:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue  # previews, which a terminal cannot show
            event = json.loads(message.data)
            data = event["data"]
            if data.get("prompt_id", prompt_id) != prompt_id:
                continue
            match event["type"]:
                case "progress":
                    if bar.total is None:
                        bar.set_description("Drawing", refresh=False)
                        bar.reset(data["max"])
                    bar.update(data["value"] - bar.n)
                case "executed":
                    images.extend((data["output"] or {}).get("images", []))
                case "execution_error":
                    raise DemoFailed(f"{data['node_type']}: {data['exception_message']}")
                case "executing" if data["node"] is None:
                    return images
    raise DemoFailed("The server closed the connection before the picture was done.")


async def draw(url: str, graph: object) -> list[Image]:
    """Submit the graph to the server at `url` and wait for its pictures."""
    client_id = uuid.uuid4().hex
    async with (
        aiohttp.ClientSession(url) as session,
        session.ws_connect(f"/ws?clientId={client_id}", max_msg_size=0) as socket,
    ):
        return await follow(socket, await submit(session, graph, client_id))


async def demo(text: str, seed: int, output: Path) -> Path:
    """Draw one picture from a text and return where it lies."""
    graph = json.loads(GRAPH.read_text(encoding="utf-8"))
    graph["2"]["inputs"]["text"] = text
    graph["5"]["inputs"]["seed"] = seed
    print("Starting a server ...", flush=True)
    async with started(output) as server:
        url = await asyncio.wait_for(server.url, START_LIMIT_S)
        print(f'It listens on {url}; asking it for "{text}".', flush=True)
        try:
            images = await draw(url, graph)
        except (aiohttp.ClientError, DemoFailed) as error:
            raise DemoFailed(f"{error}\nThe server's last lines:\n" + "\n".join(server.lines)) from error
    if not images:
        raise DemoFailed("The prompt ended without a picture.")
    return output / images[0]["subfolder"] / images[0]["filename"]


def main() -> None:
    """Run the demo as the command line says."""
    parser = argparse.ArgumentParser(prog="demo", description="Draw one picture through a Weft server.")
    parser.add_argument("--text", default="a red circle on a blue background", help="what to draw")
    parser.add_argument("--seed", type=int, default=42, help="another seed, another picture")
    parser.add_argument("--output", type=Path, default=ROOT / "output", metavar="FOLDER", help="where to save it")
    chosen = parser.parse_args()
    began = time.monotonic()
    try:
        path = asyncio.run(demo(chosen.text, chosen.seed, chosen.output.resolve()))
    except DemoFailed as error:
        sys.exit(str(error))
    except TimeoutError:
        sys.exit(f"The server did not listen within {START_LIMIT_S:g} s.")
    print(f"\nThe picture: {path}   ({time.monotonic() - began:.1f} s in all)")
    print("Go on with   make demo ARGS=\"--text 'a yellow star on a purple background'\"")
    print("or start the server for your own client with   make run")


if __name__ == "__main__":
    main()
