"""Jobs as newer clients see them: one form for what waits, runs and ended. Knows no requests.

Source: reference/http_api.md section 9 and frontend_requests.md. One wrong type and the front end drops its whole list,
so keys without a value are left out.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard

from executor.queue.job import EndState, HistoryEntry, Job, JobState, shown_to
from executor.queue.places import Place
from executor.queue.store import Store

Status = Literal["pending", "in_progress", "completed", "failed", "cancelled"]
WAITING: Mapping[Status, JobState] = {"pending": "pending", "in_progress": "running"}
ENDED: Mapping[Status, EndState] = {"completed": "succeeded", "failed": "failed", "cancelled": "interrupted"}
STATUSES: tuple[Status, ...] = (*WAITING, *ENDED)

PREVIEWABLE_KINDS = frozenset({"images", "video", "audio", "3d"})
SOLID_ENDINGS = (".glb", ".gltf", ".obj", ".fbx", ".stl", ".usdz", ".ply", ".splat", ".ksplat", ".spz")
AT_ONCE = 100
"""So many entries of the history, with their graphs, are in memory at once while they are rendered."""
MOST_TEXTS = 1000
"""So many rendered jobs are kept: some pages of the longest lists that front ends ask for."""
MOST_PAGES = 16
LARGEST_PAGE = 1 << 20
"""So many pages are kept as they were shown, of at most so many bytes: front ends ask for the same few."""
_STATUS_OF = {state: status for status, state in (*WAITING.items(), *ENDED.items())}

View = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Which jobs are wanted, in which order, and which part of them; no `limit`: to the end, no `owner`: anybody's."""

    statuses: frozenset[Status] = frozenset(STATUSES)
    workflow_id: str | None = None
    by_duration: bool = False
    descending: bool = True
    limit: int | None = None
    offset: int = 0
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was shown: its jobs and entries, how many there are in all, and the text."""

    items: list[Job | Place]
    total: int
    text: bytes


class JobList:
    """GET /api/jobs as JSON text. What ended is rendered once and kept, for front ends ask at every change."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pages: dict[JobQuery, Page] = {}  # the one made last, last
        # by rank, version, and whether it is for who sees everybody's; last used last
        self._texts: OrderedDict[tuple[int, int, bool], bytes] = OrderedDict()

    async def page(self, query: JobQuery) -> bytes:
        """A page of jobs and where it stands."""
        waiting = (*self._store.running(query.owner), *self._store.pending(query.owner))
        queued = [job for job in waiting if _is_wanted(job, query)]
        ended = [state for status, state in ENDED.items() if status in query.statuses]
        end = 2**62 if query.limit is None else query.offset + query.limit
        places, total = self._store.past.places(
            ended,
            query.workflow_id,
            by_duration=query.by_duration,
            descending=query.descending,
            limit=end,
            owner=query.owner,
        )
        total += len(queued)
        found: list[Job | Place] = [*queued, *places]
        if queued:
            found.sort(key=lambda item: _key(item, query), reverse=query.descending)
        page = found[query.offset : end]
        shown = self._pages.get(query)
        if shown is not None and (shown.total, shown.items) == (total, page):  # as a rule this compares identities
            return shown.text
        texts = await self._rendered([item for item in page if isinstance(item, Place)], query.owner)
        views = [_dumped(queued_view(item)) if isinstance(item, Job) else texts[item.rank] for item in page]
        pagination = {
            "offset": query.offset,
            "limit": query.limit,
            "total": total,
            "has_more": query.offset + len(page) < total,
        }
        jobs = b", ".join(filter(None, views))
        text = b'{"jobs": [' + jobs + b'], "pagination": ' + _dumped(pagination) + b"}"
        self._keep(query, Page(page, total, text))
        return text

    def _keep(self, query: JobQuery, page: Page) -> None:
        """Keep a page until another one of its query is asked for, or the pages of newer queries are too many."""
        self._pages.pop(query, None)
        if len(page.text) <= LARGEST_PAGE:
            self._pages[query] = page
        while len(self._pages) > MOST_PAGES:
            del self._pages[next(iter(self._pages))]

    async def _rendered(self, places: Sequence[Place], owner: str | None) -> dict[int, bytes]:
        """The texts of ended jobs by rank; an empty one for what was deleted in the meantime."""
        texts: dict[int, bytes] = {}
        missing: list[Place] = []
        for place in places:
            key = place.rank, place.version, owner is None
            if key in self._texts:
                self._texts.move_to_end(key)
                texts[place.rank] = self._texts[key]
            else:
                missing.append(place)
        for start in range(0, len(missing), AT_ONCE):
            part = missing[start : start + AT_ONCE]
            entries = await self._store.past.at([place.rank for place in part])
            for place in part:
                entry = entries.get(place.rank)
                texts[place.rank] = b"" if entry is None else _dumped(ended_view(shown_to(owner, entry)))
                if entry is not None:
                    self._texts[place.rank, place.version, owner is None] = texts[place.rank]
            while len(self._texts) > MOST_TEXTS:
                self._texts.popitem(last=False)
        return texts


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()


async def find_job(store: Store, job_id: str, owner: str | None = None) -> View | None:
    """The answer of GET /api/jobs/{id}, None if neither queue nor history (of one owner, or all) knows the id."""
    for job in (*store.running(owner), *store.pending(owner)):
        if job.id == job_id:
            return {**queued_view(job), "outputs": {}, "workflow": _workflow(job), "update_time": _update_time(job)}
    entry = await store.past.entry(job_id, owner)
    if entry is None:
        return None
    entry = shown_to(owner, entry)
    return {
        **ended_view(entry),
        "outputs": json.loads(entry.result.outputs_json),
        "execution_status": json.loads(entry.status_json()),
        "execution_meta": json.loads(entry.result.meta_json),
        "workflow": _workflow(entry.job),
        "update_time": entry.ended_ms,
    }


def queued_view(job: Job) -> View:
    """A job that waits or runs."""
    view = _common(job, _STATUS_OF[job.state])
    if job.started_ms is not None:
        view["execution_start_time"] = job.started_ms
    return view


def ended_view(entry: HistoryEntry) -> View:
    """A job that ended."""
    job, result = entry.job, entry.result
    view = _common(job, _STATUS_OF[result.state])
    if job.started_ms is not None:
        view["execution_start_time"] = job.started_ms
    view["execution_end_time"] = entry.ended_ms
    for event, data in json.loads(result.messages_json):
        if event == "execution_error":
            view["execution_error"] = data
    items = list(_items(json.loads(result.outputs_json)))
    previewable = [item for item in items if _is_previewable(item)]
    view["outputs_count"], view["previewable_outputs_count"] = len(items), len(previewable)
    if preview := _preview(items, previewable):
        view["preview_output"] = preview
    return view


def _common(job: Job, status: Status) -> View:
    view: View = {
        "id": job.id,
        "status": status,
        "priority": job.number,
        "create_time": job.created_ms,
        "outputs_count": 0,
        "previewable_outputs_count": 0,
    }
    if job.workflow_id is not None:
        view["workflow_id"] = job.workflow_id
    return view


def _workflow(job: Job) -> View:
    return {"prompt": json.loads(job.prompt_json), "extra_data": json.loads(job.extra_json)}


def _update_time(job: Job) -> int:
    return job.created_ms if job.started_ms is None else job.started_ms


# ---------------------------------------------------------------- lists


def _is_wanted(job: Job, query: JobQuery) -> bool:
    wanted = query.workflow_id is None or query.workflow_id == job.workflow_id
    return wanted and _STATUS_OF[job.state] in query.statuses


def _key(item: Job | Place, query: JobQuery) -> tuple[int, bool, int]:
    """Where an item sorts; of two equal ones the job in the queue counts as the later."""
    if isinstance(item, Job):
        return (0 if query.by_duration else item.created_ms), True, item.row
    return (item.duration_ms if query.by_duration else item.created_ms), False, item.rank


# ---------------------------------------------------------------- outputs


def _items(outputs: Mapping[str, object]) -> Iterator[View]:
    """Every file among the outputs, with its node and kind; lists of other things, as `animated`, are none."""
    for node_id, output in outputs.items():
        for kind, values in output.items() if isinstance(output, dict) else ():
            for value in values if isinstance(values, list) and kind != "animated" else ():
                if isinstance(value, dict):
                    yield {**value, "nodeId": node_id, "mediaType": kind}


def _is_previewable(item: View) -> bool:
    kind, form, name = item["mediaType"], item.get("format"), item.get("filename")
    if kind in PREVIEWABLE_KINDS or (_is_text(form) and form.startswith(("video/", "audio/"))):
        return True
    return _is_text(name) and name.lower().endswith(SOLID_ENDINGS)


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _preview(items: list[View], previewable: list[View]) -> View | None:
    """The output that stands for the job: a saved one, else any that can be shown, else a text."""
    saved = [item for item in previewable if item.get("type") == "output"]
    texts = [item for item in items if item["mediaType"] == "text"]
    return next(iter([*saved, *previewable, *texts]), None)
