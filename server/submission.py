"""Turns the body of POST /prompt into a job on the queue. Knows no HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import uuid
from collections.abc import Mapping

from executor.errors import BadInput
from executor.files import Folders
from executor.graph.prompt import Prompt, prompt_of, require_object
from executor.graph.validate import validate
from executor.queue.dispatcher import Dispatcher
from executor.queue.job import make_job
from server.bodies import texts
from server.definitions import Definitions
from server.refusals import refusal_lines

log = logging.getLogger("weft.front")


class Submission:
    """Reads, checks and queues prompts, and numbers them."""

    def __init__(self, definitions: Definitions, folders: Folders, dispatcher: Dispatcher) -> None:
        self._definitions = definitions
        self._folders = folders
        self._dispatcher = dispatcher
        self._counter = 0

    async def accept(self, body: Mapping[str, object]) -> dict[str, object]:
        """Queue what a request asks for and return the answer's object (reference/http_api.md section 2).

        Raises InvalidPrompt with the body of the refusal, BadInput for fields that cannot be read, NotReady.
        """
        number = self._number(body)
        log.info("got prompt")
        raw = prompt_of(body)
        prompt_id = _prompt_id(body.get("prompt_id"))
        extra_data = _extra_data(body)
        targets = _targets(body.get("partial_execution_targets"))
        definitions = await self._definitions.nodes()
        prompt = Prompt.parse(raw, definitions)
        verdict = await validate(prompt, definitions, self._folders, targets=targets, ask=self._ask)
        if verdict.node_errors:
            lines = refusal_lines(verdict.node_errors, prompt, definitions, self._folders)
            for line in await asyncio.to_thread(list, lines):
                log.warning("%s", line)
        verdict.require_good()
        job = make_job(
            prompt_id=prompt_id, number=number, prompt=verdict.prompt, targets=verdict.targets, extra_data=extra_data
        )
        await self._dispatcher.submit(job)
        return {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}

    def _number(self, body: Mapping[str, object]) -> int | float:
        """The place in the queue; the counter goes up for every request that brings no number of its own."""
        if "number" in body:
            return _given_number(body["number"])
        number = -self._counter if body.get("front") else self._counter
        self._counter += 1
        return number

    async def _ask(self, question: dict[str, object]) -> dict[str, object]:
        answer: object = json.loads(await self._dispatcher.ask("validate", json.dumps(question).encode()))
        return require_object(answer, "a worker's answer")


def _given_number(value: object) -> float:
    if isinstance(value, str | int | float):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise BadInput(f"number must be a number, not {value!r}")


def _targets(value: object) -> list[str] | None:
    return None if value is None else texts(value, "partial_execution_targets")


def _prompt_id(value: object) -> str:
    if value is None:
        return str(uuid.uuid4())
    if isinstance(value, dict | list):
        raise BadInput("prompt_id must be a text")
    return str(value)


def _extra_data(body: Mapping[str, object]) -> dict[str, object]:
    given = body.get("extra_data")
    extra = {} if given is None else dict(require_object(given, "extra_data"))
    if "client_id" in body:
        extra["client_id"] = body["client_id"]
    return extra
