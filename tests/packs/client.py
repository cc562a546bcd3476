"""A client for tests of packs: sends prompts, hears events, reads what came of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from uuid import uuid4

import aiohttp

PATIENCE_S = 300.0


def node(class_type: str, **inputs: object) -> dict[str, object]:
    """One node of a prompt."""
    return {"class_type": class_type, "inputs": inputs}


@dataclass
class Ran:
    """A prompt that ended: what /history says, and the events heard from its start."""

    entry: dict[str, Any]
    events: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.entry["status"]["status_str"] == "success"

    @property
    def outputs(self) -> dict[str, Any]:
        """What nodes show, by id."""
        return self.entry["outputs"]

    @property
    def error(self) -> dict[str, Any]:
        """The data of execution_error."""
        return next(data for event, data in self.entry["status"]["messages"] if event == "execution_error")

    def of(self, event: str) -> list[Any]:
        """The data of every event of that name."""
        return [data for name, data in self.events if name == event]


class Client:
    """One websocket client of a server."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.id = uuid4().hex
        self.events: list[tuple[str, Any]] = []
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Client:
        self.session = aiohttp.ClientSession(self.address)
        self._ws = await self.session.ws_connect(f"/ws?clientId={self.id}")
        self._ear = asyncio.create_task(self._hear())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ear.cancel()
        await self._ws.close()
        await self.session.close()

    async def _hear(self) -> None:
        async for message in self._ws:
            if message.type == aiohttp.WSMsgType.TEXT:
                told = json.loads(message.data)
                self.events.append((told["type"], told.get("data")))
            else:
                self.events.append(("binary", message.data))
            async with self._news:
                self._news.notify_all()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something that is heard makes the condition true."""
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(condition)

    async def heard(self, event: str, since: int = 0) -> Any:
        """Wait for an event of that name; its data."""
        await self.until(lambda: any(name == event for name, _ in self.events[since:]))
        return next(data for name, data in self.events[since:] if name == event)

    async def submit(self, prompt: Mapping[str, object], **more: object) -> tuple[int, dict[str, Any]]:
        """Send a prompt; status and body of the answer."""
        body = {"prompt": prompt, "client_id": self.id, **more}
        async with self.session.post("/prompt", json=body) as response:
            return response.status, await response.json()

    async def ended(self, prompt_id: str, since: int = 0) -> Ran:
        """Wait for a prompt's last word."""
        last = {"node": None, "prompt_id": prompt_id}
        await self.until(lambda: any(name == "executing" and data == last for name, data in self.events[since:]))
        return Ran((await self.get(f"/history/{prompt_id}"))[prompt_id], self.events[since:])

    async def run(self, prompt: Mapping[str, object], **more: object) -> Ran:
        """Send a prompt and wait for its end; it must be accepted."""
        since = len(self.events)
        status, answer = await self.submit(prompt, **more)
        assert status == 200, answer
        return await self.ended(answer["prompt_id"], since)

    async def get(self, path: str) -> Any:
        """The JSON answer to a GET."""
        async with self.session.get(path) as response:
            assert response.status == 200, (path, response.status, await response.text())
            return await response.json()

    async def post(self, path: str, body: object = None) -> tuple[int, Any]:
        """Status and answer to a POST of JSON."""
        async with self.session.post(path, json=body) as response:
            text = await response.text()
            return response.status, json.loads(text) if text.startswith(("{", "[")) else text
