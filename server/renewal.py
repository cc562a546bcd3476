"""Asks a worker how the classes of packs are listed now: their inputs may change between prompts. Knows no HTTP.

An answer is taken whenever it comes, since the worker tells each change once; how long a request waits for it is
another matter.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence

import msgspec

from executor.contract.definition import NodeDef
from executor.errors import WeftError
from executor.queue.dispatcher import Dispatcher
from server.definitions import Definitions
from server.packs import is_of_a_pack

log = logging.getLogger("weft.front")

LISTING_WAIT_S = 1.0
"""How long GET /object_info waits for news; what is known is shown after that."""
PROMPT_WAIT_S = 10.0
"""How long a prompt waits for a fresh list of choices."""
ANSWER_WAIT_S = 600.0

News = Mapping[str, NodeDef]


class Renewal:
    """Brings the definitions up to date; one question is never asked twice at once."""

    def __init__(self, definitions: Definitions, dispatcher: Dispatcher) -> None:
        self._definitions = definitions
        self._dispatcher = dispatcher
        self._open: dict[tuple[str, ...] | None, asyncio.Task[News]] = {}

    async def renew(self) -> None:
        """Take over what has changed, if a worker is idle to tell it; waits a bounded time."""
        if self._definitions.has_packs and self._dispatcher.is_idle():
            await self._told(None, LISTING_WAIT_S)

    async def describe(self, names: Sequence[str]) -> News:
        """The definitions of classes as they are now; none where no worker tells them in time."""
        return await self._told(tuple(names), PROMPT_WAIT_S)

    async def close(self) -> None:
        """Ask no more."""
        tasks = [*self._open.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _told(self, names: tuple[str, ...] | None, wait_s: float) -> News:
        task = self._open.get(names)
        if task is None:
            task = self._open[names] = asyncio.create_task(self._ask(names), name="renew definitions")
            task.add_done_callback(lambda _: self._open.pop(names))
        await asyncio.wait({task}, timeout=wait_s)
        return task.result() if task.done() else {}

    async def _ask(self, names: tuple[str, ...] | None) -> News:
        """Ask for these classes, or for all of packs that have changed since the worker told them (None)."""
        try:
            body = await self._dispatcher.ask("describe", json.dumps(names).encode(), timeout_s=ANSWER_WAIT_S)
            told = json.loads(body)  # not msgspec's: listings may hold NaN and Infinity
            definitions = msgspec.convert(told["definitions"], tuple[NodeDef, ...])
        except (WeftError, ValueError, LookupError, TypeError) as error:
            log.warning("what packs' nodes take could not be read anew: %s", error)
            return {}
        news = {definition.name: definition for definition in definitions if is_of_a_pack(definition)}
        if news:
            self._definitions.merge(news, {name: json.dumps(entry).encode() for name, entry in told["wire"].items()})
        return news
