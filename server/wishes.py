"""Meets what packs wish of the queue: a prompt put in, prompts taken out, what stands in it. Knows no worker."""

from __future__ import annotations

import json

from executor.errors import BadInput
from executor.graph.prompt import require_object
from executor.messages import Request
from executor.queue.dispatcher import Dispatcher
from executor.queue.job import Job
from executor.queue.store import Store
from server.bodies import texts
from server.submission import Submission

ITEM_LENGTHS = (5, 6)
"""number, prompt_id, prompt, extra_data, outputs_to_execute; then, if there are any, the keys that are not shown."""


class Wishes:
    """Answers the Requests of workers with JSON text."""

    def __init__(self, store: Store, dispatcher: Dispatcher, submission: Submission) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._submission = submission

    async def meet(self, request: Request) -> bytes:
        """Do what a worker asks for; InvalidPrompt, BadInput, NotReady as with POST /prompt.

        A node of an owner's prompt sees and changes what is that owner's.
        """
        body, owner = json.loads(request.body_json), request.owner or None
        match request.wish:
            case "enqueue":
                return json.dumps(await self._enqueue(body, request.owner)).encode()
            case "delete":
                removed = await self._dispatcher.delete(texts(body, "what to delete"), owner)
                return json.dumps([job.id for job in removed]).encode()
            case "queue" if isinstance(body, dict) and "history" in body:
                return await self._history(require_object(body["history"], "history"), owner)
            case "queue":
                return queue_json(self._store, owner)

    async def _enqueue(self, item: object, owner: str) -> dict[str, object]:
        if not isinstance(item, list) or len(item) not in ITEM_LENGTHS:
            raise BadInput("a queue item is [number, prompt_id, prompt, extra_data, outputs_to_execute]")
        number, prompt_id, prompt, extra_data, targets, *secrets = item
        hidden = require_object(secrets[0], "the keys that are not shown") if secrets and secrets[0] else {}
        extra = {**require_object(extra_data or {}, "extra_data"), **hidden}
        body: dict[str, object] = {"prompt_id": prompt_id, "prompt": prompt, "extra_data": extra}
        wanted = texts(targets, "outputs_to_execute")
        return await self._submission.queue(body, number=number, targets=wanted, owner=owner)

    async def _history(self, window: dict[str, object], owner: str | None) -> bytes:
        prompt_id = window.get("prompt_id")
        if prompt_id is not None:
            return await self._store.past.text_of(str(prompt_id), owner)
        offset = _whole(window, "offset")
        return await self._store.past.text(_whole(window, "max_items"), -1 if offset is None else offset, owner)


def queue_json(store: Store, owner: str | None = None) -> bytes:
    """What runs and waits, in ComfyUI's form: of one owner, or all."""
    jobs = store.running(owner), store.pending(owner)
    running, pending = (b", ".join(map(Job.item_json, part)) for part in jobs)
    return b'{"queue_running": [' + running + b'], "queue_pending": [' + pending + b"]}"


def _whole(window: dict[str, object], name: str) -> int | None:
    value = window.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise BadInput(f"{name} must be a whole number, not {value!r}")
