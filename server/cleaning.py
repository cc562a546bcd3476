"""What `weft clean` does: one round of the retention, by itself where no server runs, else by asking that server."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from executor.errors import DatabaseUnusable, NotReady
from executor.files import Folders
from executor.keeping import age_text, size_text
from executor.queue.ageing import Ageing
from executor.queue.database import Database
from executor.queue.history import History
from executor.queue.job import Job
from executor.queue.rows import JOB_COLUMNS, job_of
from executor.settings import Settings
from executor.sweep import Gone
from server.neighbour import address, trust
from server.retention import Keeps, Retention, bounds_text, removed_text

QUEUE_FILE = "queue.sqlite3"
PATIENCE_S = 600.0
_JOBS = f"SELECT row, {JOB_COLUMNS}, state, attempts, at_head, worker, created_ms, started_ms FROM queue"


async def clean_once(settings: Settings, *, dry: bool) -> list[Gone]:
    """Remove what is too much by the settings' bounds, or tell what that is.

    Raises NotReady when a server uses the folders and cannot be asked, DatabaseUnusable, sqlite3.Error, OSError.
    """
    path = settings.folder("user") / QUEUE_FILE
    if not path.exists():
        return []  # no server has ever worked here
    database = Database(path)
    try:
        await database.open()
    except DatabaseUnusable as error:
        if "another server" in str(error):
            return await asyncio.to_thread(_ask, settings, dry=dry)
        raise
    try:
        rows = await database.run(lambda connection: connection.execute(_JOBS).fetchall())
        jobs: list[Job] = [job_of(row) for row in rows]
        past = History(database, settings.history_limit)
        await past.load()
        retention = Retention(settings, Folders(settings), Ageing(database, past), lambda: jobs)
        return await retention.clean(retention.keeps, dry=dry)
    finally:
        await database.close()


def cleaned(gone: Sequence[Gone], settings: Settings, *, dry: bool) -> str:
    """What was or would be removed, for people."""
    lines = [
        f"{one.folder}: {one.name} ({size_text(one.nbytes)}, {age_text(one.age_s)} old{_of(one.owner)})\n"
        for one in gone
    ]
    verb = "would be removed" if dry else "removed"
    if not gone:
        return f"nothing is too much: {bounds_text(settings)}\n"
    return "".join(lines if dry else []) + "".join(f"{verb}: {total}\n" for total in _totals(gone))


def _totals(gone: Iterable[Gone]) -> list[str]:
    count, nbytes = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for one in gone:
        count[one.folder, one.owner] += 1
        nbytes[one.folder, one.owner] += one.nbytes
    return [
        f"{removed_text(folder, number)}, {size_text(nbytes[folder, owner])}{_of(owner)}"
        for (folder, owner), number in count.items()
    ]


def _of(owner: str) -> str:
    return f", of the key {owner}" if owner else ""


def _ask(settings: Settings, *, dry: bool) -> list[Gone]:
    """Have the server that uses the folders do it, with the bounds of these settings."""
    keep = {field.name: list(getattr(settings, f"keep_{field.name}")) for field in fields(Keeps)}
    url = f"{address(settings)}/weft/clean"
    headers = {"Content-Type": "application/json"}
    if settings.auth_token is not None:
        headers["Authorization"] = f"Bearer {settings.auth_token}"
    request = Request(url, json.dumps({"dry_run": dry, "keep": keep}).encode(), headers)
    try:
        with urlopen(request, timeout=PATIENCE_S, context=trust(settings)) as answer:
            told = json.load(answer)
    except HTTPError as error:
        raise NotReady(f"the server at {url} refuses to clean: {error.code} {_words(error)}") from error
    except (URLError, TimeoutError, ValueError) as error:
        reason = f"a server uses these folders, but none answers at {url} ({error})"
        raise NotReady(f"{reason}; give --listen and --port as it has them, and --auth-token") from error
    return [
        Gone(
            folder=one["folder"],
            name=one["name"],
            nbytes=one["bytes"],
            age_s=one["age_s"],
            owner=one.get("owner", ""),
        )
        for one in told["removed"]
    ]


def _words(error: HTTPError) -> str:
    try:
        told = json.loads(error.read())["error"]
        return str(told["message"] if isinstance(told, dict) else told)
    except (ValueError, KeyError, TypeError):
        return error.reason
