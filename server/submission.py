"""Turns the body of POST /prompt into a job on the queue. Knows no HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice

from executor.errors import BadInput, NotReady, WeftError, WorkerCrashed
from executor.graph.prompt import LONGEST_ID, Prompt, prompt_of, require_object
from executor.graph.validate import validate
from executor.queue.dispatcher import Dispatcher
from executor.queue.job import Job, Key, about, make_job
from server.bodies import texts
from server.definitions import Definitions
from server.folding import Folding
from server.hooks import read_hook
from server.inputs import Inputs
from server.largejson import QUICK_BYTES, Bulky, dumped, read
from server.packs import PackHost
from server.refusals import refusal_lines
from server.renewal import Renewal
from server.spaces import Spaces

log = logging.getLogger("weft.front")

Note = Callable[[Job], None]
MOST_LINES = 50
"""Errors of a prompt that the log tells."""
UP_S = 0.05
"""Between two looks for a worker that is up."""
HOOKS_WAIT_S = 5.0
"""How long the packs' hooks may take to look at a prompt; after that it goes on as it came."""


class Submission:
    """Reads, checks and queues prompts, and numbers them."""

    def __init__(
        self,
        definitions: Definitions,
        spaces: Spaces,
        dispatcher: Dispatcher,
        packs: PackHost,
        renewal: Renewal,
        inputs: Inputs,
        check_url: Callable[[str], None],
        wait_s: float = 0.0,
    ) -> None:
        """`check_url` refuses addresses that webhooks may not have (Outbound.check).

        `wait_s` is how long a prompt may wait for a worker that can run its nodes' own checks.
        """
        self._definitions = definitions
        self._spaces = spaces
        self._dispatcher = dispatcher
        self._packs = packs
        self._renewal = renewal
        self._inputs = inputs
        self._check_url = check_url
        self._wait_s = wait_s
        self._counter = 0
        self._folding = Folding(dispatcher.store)

    async def accept(
        self, body: Mapping[str, object], key: str | None = None, owner: str = "", note: Note | None = None
    ) -> dict[str, object]:
        """Queue what a request asks for and return the answer's object (reference/http_api.md section 2).

        One that repeats another of the same owner (`key` is its Idempotency-Key) gets that one's answer. Raises
        InvalidPrompt with the body of the refusal, BadInput for fields that cannot be read, Conflict, QueueFull,
        NotReady. `note` is given the job, where this very request brings it.
        """

        def work(digest: str | None, found: Key | None) -> Awaitable[dict[str, object]]:
            return self._accept(body, digest, found, owner, note)

        return await self._folding.once(body, key, work, owner)

    async def _accept(
        self, body: Mapping[str, object], digest: str | None, key: Key | None, owner: str, note: Note | None
    ) -> dict[str, object]:
        self._dispatcher.require_room()
        if self._packs.is_live and self._packs.told.hooks:
            body = await self._hooked(body)
        number = self._number(body)
        targets = _targets(body.get("partial_execution_targets"))
        return await self.queue(body, number=number, targets=targets, digest=digest, key=key, owner=owner, note=note)

    async def queue(
        self,
        body: Mapping[str, object],
        *,
        number: int | float | None,
        targets: list[str] | None,
        digest: str | None = None,
        key: Key | None = None,
        owner: str = "",
        note: Note | None = None,
    ) -> dict[str, object]:
        """Check and queue the prompt of a body, with a place in the queue; as `accept`, past the packs' hooks."""
        if number is None:
            number = self._number({})
        raw = prompt_of(body)
        prompt_id = _prompt_id(body.get("prompt_id"))
        extra_data = _extra_data(body)
        hook = read_hook(extra_data.pop("webhook", None), "extra_data.webhook", self._check_url)
        definitions = await self._definitions.nodes()
        folders = self._spaces.named(owner).folders
        prompt = await self._inputs.taken(Prompt.parse(raw, definitions), definitions, folders)
        verdict = await validate(
            prompt,
            definitions,
            folders,
            targets=targets,
            ask=lambda question: self._ask(question, owner),
            refresh=lambda names: self._renewal.describe(names, owner),
        )
        if verdict.node_errors:
            lines = refusal_lines(verdict.node_errors, prompt, definitions, folders)
            for line in await asyncio.to_thread(list, islice(lines, MOST_LINES)):
                log.warning("%s", line)
        verdict.require_good()
        make = partial(
            make_job,
            prompt_id=prompt_id,
            number=number,
            prompt=verdict.prompt,
            targets=verdict.targets,
            extra_data=extra_data,
            node_errors=verdict.node_errors,
            digest=digest,
            owner=owner,
            hook=hook,
        )
        job = await asyncio.to_thread(make) if isinstance(body, Bulky) else make()
        stored = await self._dispatcher.submit(job, key)
        asyncio.get_running_loop().call_soon(_log_prompt, prompt_id)  # once the answer is on its way
        if note is not None:
            note(stored)
        return {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}

    def _number(self, body: Mapping[str, object]) -> int | float:
        """The place in the queue; the counter goes up for every request that brings no number of its own."""
        if "number" in body:
            return _given_number(body["number"])
        number = -self._counter if body.get("front") else self._counter
        self._counter += 1
        return number

    async def _hooked(self, body: Mapping[str, object]) -> Mapping[str, object]:
        """The body as the packs' hooks would have it; as it came, where they fail or take too long."""
        try:
            answer = await self._dispatcher.ask(
                "prompt_hook",
                await asyncio.to_thread(dumped, body),
                timeout_s=HOOKS_WAIT_S,
                worker=self._dispatcher.host().id,
            )
            changed = json.loads(answer) if len(answer) <= QUICK_BYTES else await asyncio.to_thread(read, answer)
            return require_object(changed, "what the packs' hooks make of a prompt")
        except (WeftError, ValueError) as error:
            log.warning("a prompt goes on as it came, past the hooks of packs: %s", error)
            return body

    async def _ask(self, question: dict[str, object], owner: str) -> dict[str, object]:
        """What a node's own check says; NotReady naming the node where it says nothing."""
        question = {**question, "owner": owner} if owner else question
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait_s):
                while not self._dispatcher.is_up() and not self._dispatcher.is_stopping:
                    await asyncio.sleep(UP_S)
        try:
            answer: object = json.loads(await self._dispatcher.ask("validate", json.dumps(question).encode()))
        except (NotReady, WorkerCrashed) as error:
            node = f"node {question['node_id']} ({question['class_type']})"
            raise NotReady(f"{node} could not be checked by its VALIDATE_INPUTS: {error}") from error
        return require_object(answer, "a worker's answer")


def _log_prompt(prompt_id: str) -> None:
    log.info("got prompt", extra=about(prompt_id))


def _given_number(value: object) -> float:
    if isinstance(value, str | int | float):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise BadInput(f"number must be a number, not {str(value)[:LONGEST_ID]!r}")


def _targets(value: object) -> list[str] | None:
    return None if value is None else texts(value, "partial_execution_targets")


def _prompt_id(value: object) -> str:
    if value is None:
        return str(uuid.uuid4())
    if isinstance(value, dict | list):
        raise BadInput("prompt_id must be a text")
    return _short(str(value), "prompt_id")


def _short(text: str, what: str) -> str:
    if len(text) > LONGEST_ID:
        raise BadInput(f"{what} has at most {LONGEST_ID} characters")
    return text


def _extra_data(body: Mapping[str, object]) -> dict[str, object]:
    given = body.get("extra_data")
    extra = {} if given is None else dict(require_object(given, "extra_data"))
    if "client_id" in body:
        extra["client_id"] = body["client_id"]
    if isinstance(extra.get("client_id"), str):
        _short(str(extra["client_id"]), "client_id")
    return extra
