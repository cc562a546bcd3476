"""A front without HTTP: store, dispatcher and engine, with an ear for what they publish. Also a program.

python -m tests.process.front FOLDER: submits one long and three short prompts, prints "running" once the first runs,
then waits to be killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from executor.engine.base import Engine
from executor.engine.process import ProcessEngine
from executor.queue.dispatcher import Dispatcher
from executor.queue.ears import Ears
from executor.queue.job import HistoryEntry, Job, make_job
from executor.queue.store import Store
from executor.settings import Settings

LOADER = "tests.process.fake_nodes:load"
PATIENCE_S = 300.0


def graph(class_type: str, **inputs: object) -> dict[str, object]:
    """A prompt of one node."""
    return {"1": {"class_type": class_type, "inputs": inputs}}


class Front:
    """A queue in `folder` with workers; `events` holds what clients would hear."""

    def __init__(self, folder: Path, engine: Engine | None = None) -> None:
        settings = Settings(base_directory=folder)
        self.store = Store(folder / "queue.sqlite3")
        self.engine = engine or ProcessEngine(settings, loader=LOADER, backoff_s=(0.0, 0.0, 0.1))
        self.ready = asyncio.Event()
        self.events: list[tuple[str, Any]] = []
        self._news = asyncio.Event()
        self.dispatcher = Dispatcher(
            self.store, self.engine, self.publish, ears=Ears(ready=lambda worker, told: self.ready.set())
        )

    def publish(
        self,
        event: str,
        data: Any,
        *,
        audience: str,
        client_id: str | None = None,
        job_id: str | None = None,
        owner: str = "",
    ) -> None:
        """Note an event."""
        self.events.append((event, json.loads(data) if isinstance(data, bytes) else data))
        self._news.set()

    async def start(self) -> Front:
        """Open the queue and start the workers."""
        await self.store.open()
        await self.dispatcher.start()
        return self

    async def stop(self) -> None:
        """End everything."""
        await self.dispatcher.stop()
        await self.store.close()

    async def submit(self, prompt_id: str, prompt: dict[str, object]) -> Job:
        """Queue a prompt of one output node."""
        return await self.dispatcher.submit(
            make_job(prompt_id=prompt_id, number=0, prompt=prompt, targets=["1"], extra_data={"client_id": "me"})
        )

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something that is published makes the condition true."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def heard(self, event: str, prompt_id: str) -> bool:
        """Tell whether an event of a prompt was published."""
        return any(name == event and data.get("prompt_id") == prompt_id for name, data in self.events)

    async def until_heard(self, event: str, prompt_id: str) -> None:
        """Wait for an event of a prompt."""
        await self.until(lambda: self.heard(event, prompt_id))

    async def ended(self, prompt_id: str) -> HistoryEntry:
        """Wait for a prompt's last word; its history entry."""
        last = ("executing", {"node": None, "prompt_id": prompt_id})
        await self.until(lambda: last in self.events)
        entry = await self.store.history_of(prompt_id)
        assert entry is not None
        return entry

    async def run(self, prompt_id: str, prompt: dict[str, object]) -> HistoryEntry:
        """Queue a prompt and wait for its end."""
        await self.submit(prompt_id, prompt)
        return await self.ended(prompt_id)


async def _be_killed(folder: Path) -> None:
    front = await Front(folder).start()
    await front.submit("running", graph("Sleep", seconds=2.0))
    for prompt_id in ("first", "second", "third"):
        await front.submit(prompt_id, graph("Say", text=prompt_id))
    await front.until_heard("executing", "running")
    (worker,) = front.engine.workers()
    sys.stdout.write(f"running {worker.pid}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_be_killed(Path(sys.argv[1])))
