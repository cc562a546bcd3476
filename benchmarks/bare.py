"""The floor under routes: an aiohttp server that answers fixed bytes and does nothing else, in a process of its own.

python -m benchmarks.bare: reads bodies from standard input, prints its port, serves them as /0, /1 ... until its end.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aiohttp import web


@contextmanager
def bare(bodies: Sequence[bytes]) -> Iterator[tuple[str, int]]:
    """The address of such a server and its process id; body number n is /n."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.bare"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(len(bodies).to_bytes(4) + b"".join(len(body).to_bytes(4) + body for body in bodies))
        process.stdin.flush()
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
    finally:
        process.terminate()
        process.communicate()


async def serve(bodies: Sequence[bytes]) -> None:
    """Serve, and print the port once that is so."""
    app = web.Application()
    for number, body in enumerate(bodies):

        async def answer(request: web.Request, body: bytes = body) -> web.Response:
            return web.Response(body=body, content_type="application/json")

        app.router.add_get(f"/{number}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    stream = sys.stdin.buffer
    count = int.from_bytes(stream.read(4))
    asyncio.run(serve([stream.read(int.from_bytes(stream.read(4))) for _ in range(count)]))
