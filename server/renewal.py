"""Asks a worker how the classes of packs are listed now: their inputs may change between prompts. Knows no HTTP.

An answer is taken whenever it comes, since the worker tells each change once; how long a request waits for it is
another matter.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence

import msgspec

from executor.contract.definition import NodeDef
from executor.errors import WeftError
from executor.messages import Seen
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
Names = tuple[str, ...] | None


class Renewal:
    """Brings the definitions up to date; one question is never asked twice at once."""

    def __init__(self, definitions: Definitions, dispatcher: Dispatcher, *, separate: bool = False) -> None:
        """`separate`: each owner of prompts has files of its own, which packs list."""
        self._definitions = definitions
        self._dispatcher = dispatcher
        self._separate = separate
        self._open: dict[tuple[Names, str | None], asyncio.Task[News]] = {}
        self._silent: set[tuple[Names, str | None]] = set()  # questions that somebody has waited for in vain

    async def renew(self, owner: str = "") -> None:
        """Take over what has changed, if a worker is idle to tell it; waits a bounded time."""
        if not self._definitions.has_packs:
            return
        until_s = time.monotonic() + LISTING_WAIT_S
        is_idle = self._dispatcher.is_idle()
        if is_idle:
            await self._told(None, until_s)
        if self._separate and (is_idle or (self._is_busy() and self._definitions.seen(owner) is None)):
            await self._told(None, until_s, owner)

    async def describe(self, names: Sequence[str], owner: str = "") -> News:
        """The definitions of classes as they are now; none where no worker tells them in time."""
        until_s = time.monotonic() + PROMPT_WAIT_S
        return await self._told(tuple(names), until_s, owner if self._separate else None, patient=True)

    async def close(self) -> None:
        """Ask no more."""
        tasks = [*self._open.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_busy(self) -> bool:
        return any(info.state == "busy" for info in self._dispatcher.engine.workers())

    async def _told(self, names: Names, until_s: float, owner: str | None = None, *, patient: bool = False) -> News:
        """What a worker tells until then; only who is patient waits for one that has left others waiting in vain."""
        key = names, owner
        task = self._open.get(key)
        if task is None:
            task = self._open[key] = asyncio.create_task(self._ask(names, owner), name="renew definitions")
            task.add_done_callback(lambda _: self._forget(key))
        elif key in self._silent and not patient:
            return {}
        await asyncio.wait({task}, timeout=max(0.0, until_s - time.monotonic()))
        if task.done():
            return task.result()
        self._silent.add(key)
        return {}

    def _forget(self, key: tuple[Names, str | None]) -> None:
        del self._open[key]
        self._silent.discard(key)

    def _question(self, names: Names, owner: str | None) -> bytes:
        """What is asked: of an owner's view also the classes it has of its own already, for they may have changed."""
        if owner is None:
            return json.dumps(names).encode()
        known = (self._definitions.seen(owner) or ()) if names is None else names
        return msgspec.json.encode(Seen(owner=owner, names=tuple(known), differing=names is None))

    async def _ask(self, names: Names, owner: str | None) -> News:
        """Ask for these classes, or for all of packs that have changed since the worker told them (None).

        With an owner: for these as that one sees them, or all that it sees otherwise than they were told.
        """
        try:
            question = self._question(names, owner)
            body = await self._dispatcher.ask("describe", question, timeout_s=ANSWER_WAIT_S)
            told = json.loads(body)  # not msgspec's: listings may hold NaN and Infinity
            definitions = msgspec.convert(told["definitions"], tuple[NodeDef, ...])
        except (WeftError, ValueError, LookupError, TypeError) as error:
            log.warning("what packs' nodes take could not be read anew: %s", error)
            return {}
        news = {definition.name: definition for definition in definitions if is_of_a_pack(definition)}
        if news or owner is not None:
            entries = {name: json.dumps(entry).encode() for name, entry in told["wire"].items()}
            self._definitions.merge(news, entries, owner)
        return news
