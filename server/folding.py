"""Folds requests that ask for the same thing into one: by Idempotency-Key, and by a bare prompt_id. Knows no HTTP.

A key leads to its first request's answer for as long as it is remembered; with another body it is refused. A prompt_id
folds only while the job that an equal body made waits or runs. Requests that come together share one piece of work.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping

from executor.errors import BadInput, Conflict
from executor.queue.job import Key
from executor.queue.store import Store
from server.largejson import Bulky

LONGEST_KEY = 255
Answer = dict[str, object]
Work = Callable[[str | None, Key | None], Awaitable[Answer]]
"""Does what a request asks for, given the digest of its body and its key."""
_Name = tuple[str, str, str]  # owner, kind, and what folds


class Folding:
    """The requests under way, by what folds them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: dict[_Name, tuple[str, asyncio.Task[Answer]]] = {}  # with the digest of the body

    async def once(self, body: Mapping[str, object], key_text: str | None, work: Work, owner: str = "") -> Answer:
        """The answer to a body: that of an equal request of the same owner where there is one, else that of `work`.

        Conflict for a key that was used with another body, BadInput for one that is none; and what `work` raises.
        """
        prompt_id = body.get("prompt_id")
        named = None if prompt_id is None or isinstance(prompt_id, dict | list) else str(prompt_id)
        if key_text is None and named is None:
            return await work(None, None)
        digest = await asyncio.to_thread(digest_of, body) if isinstance(body, Bulky) else digest_of(body)
        if key_text is None:
            return await self._by_id(owner, named, digest, None, work)
        if not 0 < len(key_text) <= LONGEST_KEY or not key_text.isprintable():
            raise BadInput(f"an Idempotency-Key is a text of 1 to {LONGEST_KEY} printable characters")
        key = Key(text=key_text, digest=digest)
        return await self._shared((owner, "key", key_text), digest, lambda: self._by_key(owner, named, key, work))

    async def _by_key(self, owner: str, named: str | None, key: Key, work: Work) -> Answer:
        known = await self._store.keys.find(key.text, owner)
        if known is None:
            return await self._by_id(owner, named, key.digest, key, work)
        _require_equal(key.text, known.digest, key.digest)
        return known.answer

    async def _by_id(self, owner: str, named: str | None, digest: str, key: Key | None, work: Work) -> Answer:
        if named is None:
            return await work(None, key)
        job = self._store.same(named, digest, owner)
        if job is None:
            return await self._shared((owner, "id", f"{digest} {named}"), digest, lambda: work(digest, key))
        if key is not None:
            await self._store.keys.remember(key, job)
        return job.answer()

    async def _shared(self, name: _Name, digest: str, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """What `work` answers; it goes on when the request that began it is gone, for others may wait for it too."""
        if name in self._open:
            known, task = self._open[name]
            _require_equal(name[-1], known, digest)
        else:
            task = asyncio.ensure_future(work())
            self._open[name] = digest, task
            task.add_done_callback(lambda done: self._settle(name, done))
        return await asyncio.shield(task)

    def _settle(self, name: _Name, done: asyncio.Task[Answer]) -> None:
        del self._open[name]
        if not done.cancelled():
            done.exception()  # looked at: those who wait get it, and there may be none


def digest_of(body: Mapping[str, object]) -> str:
    """What equal bodies have in common: the order of keys and white space do not count."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _require_equal(key: str, known: str, digest: str) -> None:
    if known != digest:
        raise Conflict(f"the Idempotency-Key {key!r} was used with another body")
