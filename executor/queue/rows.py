"""Jobs and history entries as rows of the two tables, and back. Knows no statements but their lists of columns."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from executor.queue.job import EndState, HistoryEntry, Hook, Job, Result

JOB_COLUMNS = "owner, id, number, prompt, targets, extra, client_id, workflow_id"
QUEUE_COLUMNS = f"{JOB_COLUMNS}, digest, node_errors, hook"
ENTRY_COLUMNS = f"{JOB_COLUMNS}, attempts, worker, created_ms, started_ms, state, outputs, meta, messages, ended_ms"

Row = tuple[Any, ...]


def job_values(job: Job) -> Row:
    """The values of JOB_COLUMNS."""
    number, targets = job.number_json(), job.targets_json()
    return (job.owner, job.id, number, job.prompt_json, targets, job.extra_json, job.client_id, job.workflow_id)


def queue_values(job: Job) -> Row:
    """The values of QUEUE_COLUMNS."""
    return (*job_values(job), job.digest, job.node_errors_json, hook_json(job.hook))


def entry_values(entry: HistoryEntry) -> Row:
    """The values of ENTRY_COLUMNS."""
    job, result = entry.job, entry.result
    times = (job.attempts, job.worker, job.created_ms, job.started_ms)
    texts = (result.state, result.outputs_json, result.meta_json, result.messages_json)
    return (*job_values(job), *times, *texts, entry.ended_ms)


def waiting_job_of(row: Row) -> Job:
    """The job of a row of the queue: as `job_of`, then digest, node_errors and hook."""
    *known, digest, node_errors, hook = row
    job = job_of(tuple(known))
    return replace(job, digest=digest, node_errors_json=bytes_of(node_errors), hook=hook_of(hook))


def hook_json(hook: Hook | None) -> str | None:
    """A job's hook as its row keeps it: without the secret."""
    if hook is None:
        return None
    return json.dumps({"url": hook.url, "events": sorted(hook.events), "own_secret": hook.own_secret})


def hook_of(text: str | None) -> Hook | None:
    """The hook of a row; a secret that it had is gone."""
    if text is None:
        return None
    told = json.loads(text)
    return Hook(url=told["url"], events=frozenset(told["events"]), own_secret=told["own_secret"])


def bytes_of(value: bytes | str) -> bytes:
    """A BLOB as it is, a default that the schema wrote as text encoded."""
    return value.encode() if isinstance(value, str) else value


def job_of(row: Row) -> Job:
    """The job of a row: its number, JOB_COLUMNS, state, attempts, at_head, worker, created_ms, started_ms."""
    key, owner, prompt_id, number, prompt, targets, extra, client_id, workflow_id = row[:9]
    state, attempts, at_head, worker, created, started = row[9:]
    return Job(
        row=key,
        owner=owner,
        id=prompt_id,
        number=json.loads(number),
        prompt_json=prompt,
        targets=tuple(json.loads(targets)),
        extra_json=extra,
        client_id=client_id,
        workflow_id=workflow_id,
        state=state,
        attempts=attempts,
        at_head=bool(at_head),
        worker=worker,
        created_ms=created,
        started_ms=started,
    )


def entry_of(row: Row) -> HistoryEntry:
    """The entry of ENTRY_COLUMNS."""
    job = job_of((0, *row[:8], "running", row[8], False, *row[9:12]))
    state: EndState = row[12]
    result = Result(state=state, outputs_json=row[13], meta_json=row[14], messages_json=row[15])
    return HistoryEntry(job=job, result=result, ended_ms=row[16])
