"""Jobs and results as the queue keeps them: JSON text stays text, secrets stay in memory. Knows no database."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Literal

import msgspec
from msgspec.structs import replace

from executor.errors import BadInput, WeftError, WorkerCrashed
from executor.own_folders import place_of

PROMPT_ID = "prompt_id"
"""The attribute of a log record that names the prompt it is about."""

JobState = Literal["pending", "running"]
EndState = Literal["succeeded", "failed", "interrupted"]

SECRET_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")
"""Keys of extra_data that are never written to disk nor shown (reference/http_api.md section 2)."""


END_EVENTS = ("succeeded", "failed", "interrupted", "removed")
"""How a job ends; `removed`: it was taken out of the queue before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Where the end of a job is told: an address, the ends that are wanted, and a secret that signs what is told.

    `own_secret` tells that it was given one; `secret` is that while it is remembered (in memory only).
    """

    url: str
    events: frozenset[str] = frozenset(END_EVENTS)
    own_secret: bool = False
    secret: str | None = field(default=None, repr=False)

    def wants(self, event: str) -> bool:
        """Tell whether an end of this kind is told."""
        return event in self.events


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One submitted prompt. `row` is its number in the database (0: not stored yet), `id` the client's name for it.

    `digest` is that of the request's body where it named an id or a key, `node_errors_json` part of its answer.
    `owner` is whose it is where keys separate ("": nobody's); ids are unique for each owner only.
    """

    id: str
    number: int | float
    prompt_json: bytes
    targets: tuple[str, ...]
    extra_json: bytes = b"{}"
    secrets_json: bytes = b"{}"
    client_id: str | None = None
    workflow_id: str | None = None
    state: JobState = "pending"
    attempts: int = 0
    at_head: bool = False
    worker: str | None = None
    created_ms: int = 0
    started_ms: int | None = None
    digest: str | None = None
    node_errors_json: bytes = b"{}"
    owner: str = ""
    hook: Hook | None = None
    row: int = 0

    def __repr__(self) -> str:
        """What names it, and nothing that is secret."""
        return f"Job(row={self.row}, id={self.id!r}, state={self.state!r})"

    def answer(self) -> dict[str, object]:
        """What POST /prompt answers to the request that brought it, and to each equal one."""
        return {"prompt_id": self.id, "number": self.number, "node_errors": json.loads(self.node_errors_json)}

    def belongs_to(self, owner: str | None) -> bool:
        """Tell whether somebody may see and change it: its owner, and who may see everybody's (None)."""
        return owner is None or owner == self.owner

    def order(self) -> tuple[bool, bool, float, int]:
        """The place in the queue: put-back jobs, then the smallest number (NaN last), then arrival."""
        missing = math.isnan(self.number)
        return not self.at_head, missing, 0 if missing else self.number, self.row

    def item_json(self) -> bytes:
        """The JSON text `[number, id, prompt, extra_data, targets]` that clients see, without secrets."""
        start = f"[{self.number_json()}, {json.dumps(self.id)}, ".encode()
        return b"".join((start, self.prompt_json, b", ", self.extra_json, f", {self.targets_json()}]".encode()))

    def number_json(self) -> str:
        """The JSON text of its number."""
        return str(self.number) if type(self.number) is int else json.dumps(self.number)

    def targets_json(self) -> str:
        """The JSON text of its list of targets."""
        return f"[{', '.join(map(encode_basestring_ascii, self.targets))}]"

    def short_item_json(self) -> bytes:
        """The JSON text `[id, number, time]` of --queue-items id-first; time is when it came, in whole seconds."""
        return json.dumps([self.id, self.number, self.created_ms // 1000]).encode()

    def item(self) -> list[object]:
        """The queue item that clients see, as Python values."""
        value: list[object] = json.loads(self.item_json())
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The Idempotency-Key of a request, with the digest of its body; each owner has keys of its own."""

    text: str
    digest: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended: JSON texts of the history's outputs, meta and messages `[[event, data], ...]`."""

    state: EndState
    outputs_json: bytes = b"{}"
    meta_json: bytes = b"{}"
    messages_json: bytes = b"[]"


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A job that ended, with its result; `ended_ms` is Unix time."""

    job: Job
    result: Result
    ended_ms: int

    def status_json(self) -> bytes:
        """The JSON text of the entry's status object."""
        good = self.result.state == "succeeded"
        start = f'{{"status_str": "{"success" if good else "error"}", "completed": {"true" if good else "false"}, '
        return start.encode() + b'"messages": ' + self.result.messages_json + b"}"

    def entry_json(self) -> bytes:
        """The JSON text that /history shows for this job (reference/execution.md section 12)."""
        parts = (
            b'{"prompt": ',
            self.job.item_json(),
            b', "outputs": ',
            self.result.outputs_json,
            b', "status": ',
            self.status_json(),
            b', "meta": ',
            self.result.meta_json,
            b"}",
        )
        return b"".join(parts)


def shown_to(owner: str | None, entry: HistoryEntry) -> HistoryEntry:
    """An entry as an owner sees it, or (None) who sees everybody's: to those each file is where they find it."""
    if owner is not None or not entry.job.owner:
        return entry
    outputs: object = json.loads(entry.result.outputs_json)
    nodes = outputs.values() if isinstance(outputs, dict) else ()
    for values in (values for node in nodes if isinstance(node, dict) for values in node.values()):
        for item in values if isinstance(values, list) else ():
            if isinstance(item, dict) and "filename" in item and isinstance(item.get("subfolder", ""), str):
                item["subfolder"] = place_of(entry.job.owner, item.get("subfolder", ""))
    return replace(entry, result=replace(entry.result, outputs_json=json.dumps(outputs).encode()))


def history_json(entries: Iterable[HistoryEntry]) -> bytes:
    """The JSON object {id: entry} that /history answers, in the order given."""
    return history_object(map(history_item, entries))


def history_item(entry: HistoryEntry) -> bytes:
    """The JSON text `"id": entry` of one member of that object."""
    return b"".join((json.dumps(entry.job.id).encode(), b": ", entry.entry_json()))


def history_object(items: Iterable[bytes]) -> bytes:
    """The JSON object of members that `history_item` rendered."""
    return b"{" + b", ".join(items) + b"}"


def make_job(
    *,
    prompt_id: str,
    number: int | float,
    prompt: Mapping[str, object],
    targets: Iterable[str],
    extra_data: Mapping[str, object] | None = None,
    node_errors: Mapping[str, object] | None = None,
    digest: str | None = None,
    owner: str = "",
    hook: Hook | None = None,
) -> Job:
    """A job to submit, with its secrets split off; the client that hears of it is `extra_data["client_id"]`.

    Raises BadInput for ids that are no valid Unicode.
    """
    extra = dict(extra_data or {})
    secrets = {key: extra.pop(key) for key in SECRET_KEYS if key in extra}
    client = extra.get("client_id")
    client_id = client if isinstance(client, str) or client is None else json.dumps(client)
    chosen = tuple(targets)
    for text in (prompt_id, client_id or "", *chosen):
        _check_unicode(text)
    return Job(
        id=prompt_id,
        number=number,
        prompt_json=json.dumps(prompt).encode(),
        targets=chosen,
        extra_json=json.dumps(extra).encode(),
        secrets_json=json.dumps(secrets).encode() if secrets else b"{}",
        client_id=client_id,
        workflow_id=_workflow_id(extra),
        created_ms=now_ms(),
        digest=digest,
        node_errors_json=json.dumps(node_errors).encode() if node_errors else b"{}",
        owner=owner,
        hook=hook,
    )


def about(prompt_id: str) -> dict[str, str]:
    """The `extra` of a log record about a prompt."""
    return {PROMPT_ID: prompt_id}


def _workflow_id(extra_data: Mapping[str, object]) -> str | None:
    """The id that the front end gave the workflow it sends along, if it is a text."""
    found: object = extra_data
    for key in ("extra_pnginfo", "workflow", "id"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) and is_unicode(found) else None


def is_unicode(text: str) -> bool:
    """Tell whether a text can be written to the database at all (lone surrogates cannot)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def crash_result(
    job: Job, reason: str, *, node_id: str = "", node_type: str = "", cause: type[WeftError] = WorkerCrashed
) -> Result:
    """The failed result of a job whose worker (or front) went away for the second time, or that ran too long."""
    started = {"prompt_id": job.id, "timestamp": job.started_ms or now_ms()}
    error = {
        "prompt_id": job.id,
        "node_id": node_id,
        "node_type": node_type,
        "executed": [],
        "exception_message": f"{reason}\n",
        "exception_type": f"executor.errors.{cause.__name__}",
        "traceback": [],
        "current_inputs": {},
        "current_outputs": [],
        "timestamp": now_ms(),
    }
    return Result(
        state="failed",
        messages_json=json.dumps([["execution_start", started], ["execution_error", error]]).encode(),
    )


def interrupted_result(job: Job, *, node_id: str = "", node_type: str = "") -> Result:
    """The result of a job that the user stopped and whose worker went away before it could say so."""
    started = {"prompt_id": job.id, "timestamp": job.started_ms or now_ms()}
    data = {
        "prompt_id": job.id,
        "node_id": node_id,
        "node_type": node_type,
        "executed": [],
        "timestamp": now_ms(),
    }
    return Result(
        state="interrupted",
        messages_json=json.dumps([["execution_start", started], ["execution_interrupted", data]]).encode(),
    )


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def _check_unicode(text: str) -> None:
    if not is_unicode(text):
        raise BadInput(f"{text!r} is not valid Unicode text")
