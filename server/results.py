"""What a job that ended gives whoever asked for it: its files, its outputs, its error. Knows no requests.

The same object is answered by POST /weft/run and told by webhooks.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from aiohttp import web

from executor.errors import BadInput, JobTimeout, UnsafePath, WorkerCrashed
from executor.files import Folders, Root, inside
from executor.numbered import file_names
from executor.own_folders import place_of
from executor.queue.job import HistoryEntry, Job
from server import sentfile
from server.jobstate import View, error_of, times_of
from server.media import content_type
from server.uploads import as_root

MOST_BASE64 = 64 << 20
"""Bytes of files that one answer carries as text; of files beyond it only the URL is told."""
STATUSES = {WorkerCrashed.__name__: 500, JobTimeout.__name__: 504}
"""Causes in the server's own house; any other failure lies in the prompt."""
FAILED, STOPPED = 422, 409


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """One file that a job made, as its outputs name it; `owner` is the job's."""

    node_id: str
    filename: str
    subfolder: str
    root: Root
    owner: str = ""

    @property
    def content_type(self) -> str:
        """The media type by its name."""
        return content_type(self.filename)

    def view(self, base: str) -> View:
        """The file for clients; `base` is the address of the server, empty where it is not known.

        The url leads whoever may see the file to it: its owner, and operators, whose folders hold the owner's.
        """
        place = {"filename": self.filename, "subfolder": self.subfolder, "type": self.root}
        asked = {**place, "subfolder": place_of(self.owner, self.subfolder)}
        url = f"{base}/view?{urlencode(asked, quote_via=quote, errors='replace')}"
        return {"node_id": self.node_id, **place, "content_type": self.content_type, "url": url}

    def path(self, folders: Folders) -> Path:
        """Where it lies; UnsafePath for a name that leaves its folder."""
        return inside(inside(folders.root(self.root), self.subfolder), self.filename)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which file of a job is wanted: of any node or one, of any kind or one (image, video, audio), the how manieth."""

    node_id: str | None = None
    kind: str | None = None
    index: int = 0

    def of(self, files: Sequence[OutputFile]) -> OutputFile | None:
        """The wanted file; saved ones go before previews. None if there is none."""
        fit = [
            file
            for file in files
            if self.node_id in (None, file.node_id)
            and (self.kind is None or file.content_type.startswith(f"{self.kind}/"))
        ]
        saved = [file for file in fit if file.root == "output"] or fit
        return saved[self.index] if self.index < len(saved) else None


def files_of(entry: HistoryEntry) -> list[OutputFile]:
    """The files that the outputs of a job name, in their order; of a sequence of pictures each one."""
    return list(_files(json.loads(entry.result.outputs_json), entry.job.owner))


def _files(outputs: Mapping[str, object], owner: str) -> Iterator[OutputFile]:
    for node_id, told in outputs.items():
        lists = told.values() if isinstance(told, dict) else ()
        for item in (item for items in lists if isinstance(items, list) for item in items):
            if not isinstance(item, dict) or not isinstance(item.get("filename"), str):
                continue
            try:
                root = as_root(str(item.get("type") or "output"))
            except BadInput:  # a pack's own kind of place
                continue
            subfolder = item.get("subfolder")
            for name in file_names(item):
                yield OutputFile(
                    node_id=node_id,
                    filename=name,
                    subfolder=subfolder if isinstance(subfolder, str) else "",
                    root=root,
                    owner=owner,
                )


def ended_view(entry: HistoryEntry, base: str) -> View:
    """All that is told of a job that ended."""
    return {
        "prompt_id": entry.job.id,
        "state": entry.result.state,
        "outputs": json.loads(entry.result.outputs_json),
        "files": [file.view(base) for file in files_of(entry)],
        "error": error_of(entry),
        **times_of(entry.job),
        "end_time": entry.ended_ms,
    }


def removed_view(job: Job, ended_ms: int) -> View:
    """The same of a job that was removed from the queue before it ended."""
    told: View = {"prompt_id": job.id, "state": "removed", "outputs": {}, "files": [], "error": None}
    return {**told, **times_of(job), "end_time": ended_ms}


def with_bytes(view: View, entry: HistoryEntry, folders: Folders) -> View:
    """A view whose files carry their content as `base64`, null where it is gone or beyond MOST_BASE64. Slow."""
    room = MOST_BASE64
    told = view["files"]
    assert isinstance(told, list)
    files = []
    for shown, file in zip(told, files_of(entry), strict=True):
        try:
            with sentfile.opened(folders.fence, file.path(folders)) as source:
                body = source.read(room + 1)
            text = base64.b64encode(body).decode() if len(body) <= room else None
        except (UnsafePath, OSError, web.HTTPNotFound):
            text = None
        room -= len(text or "") * 3 // 4
        files.append({**shown, "base64": text})
    return {**view, "files": files}


def failure(entry: HistoryEntry) -> tuple[int, View] | None:
    """The status and the error object that say how a job failed; None for one that succeeded."""
    if entry.result.state == "succeeded":
        return None
    told: View = {"prompt_id": entry.job.id, "state": entry.result.state, **(error_of(entry) or {})}
    if entry.result.state == "interrupted":
        return STOPPED, _error("interrupted", "the prompt was stopped", "", told)
    cause = str(told.get("exception_type") or "")
    node = f"node {told['node_id']} ({told['node_type']}): " if told.get("node_id") else ""
    message = str(told.get("exception_message") or "the prompt failed").rstrip("\n")
    message = message if message.startswith(node.rstrip(": ")) else node + message
    return STATUSES.get(cause.rpartition(".")[2], FAILED), _error("execution_error", message, cause, told)


def gone(prompt_id: str) -> View:
    """The error object for a job that ended otherwise than in the history."""
    told: View = {"prompt_id": prompt_id, "state": "removed"}
    return _error("removed", "the prompt was removed from the queue, or its end is not kept any more", "", told)


def no_file(entry: HistoryEntry, base: str) -> View:
    """The error object for a job that made no file of those that were asked for."""
    told = ended_view(entry, base)
    have = "; ".join(f"node {file.node_id}: {file.filename} ({file.content_type})" for file in files_of(entry))
    return _error("no_such_file", "the prompt made no file that was asked for", have or "it made no file", told)


def _error(kind: str, message: str, details: str, info: View) -> View:
    error = {"type": kind, "message": message, "details": details, "extra_info": info}
    return {"error": error, "node_errors": {}}
