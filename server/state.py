"""What a handler may reach: the parts of the front under one typed key, set once by `server.app.make_app`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from executor.engine.base import Engine
from executor.files import Folders
from executor.queue.dispatcher import Dispatcher
from executor.queue.store import Store
from executor.settings import Settings
from executor.short_paths import ShortPaths
from server.calls import Calls
from server.definitions import Definitions
from server.hub import Hub
from server.jobs import JobList
from server.jobstate import JobStates
from server.keys import KeyRing
from server.logbook import LogBook
from server.metrics import Metrics
from server.packfiles import PackFiles
from server.packs import PackHost
from server.proxy import PackProxy
from server.queuelist import QueueList
from server.readiness import Readiness
from server.renewal import Renewal
from server.retention import Retention
from server.spaces import KEY, Space, Spaces
from server.stats import SystemStats
from server.submission import Submission
from server.webhooks import Webhooks
from server.webroot import WebRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Everything the routes work with."""

    settings: Settings
    keys: KeyRing
    spaces: Spaces
    folders: Folders
    hub: Hub
    definitions: Definitions
    store: Store
    engine: Engine
    dispatcher: Dispatcher
    submission: Submission
    calls: Calls
    webhooks: Webhooks
    queue: QueueList
    jobs: JobList
    job_states: JobStates
    logbook: LogBook
    metrics: Metrics
    stats: SystemStats
    web: WebRoot
    packs: PackHost
    pack_files: PackFiles
    proxy: PackProxy
    readiness: Readiness
    renewal: Renewal
    retention: Retention
    argv: Sequence[str] = ()

    @property
    def public_url(self) -> str:
        """What addresses of files begin with; empty where nobody said it: then they begin at the server's root."""
        return public_url(self.settings)


def public_url(settings: Settings) -> str:
    """What addresses of files begin with; empty where nobody said it."""
    return (settings.public_url or "").rstrip("/")


FRONT = web.AppKey("front", Front)


def front(request: web.Request) -> Front:
    """The front that serves this request."""
    return request.app[FRONT]


def space(request: web.Request) -> Space:
    """What this request may see and change."""
    return front(request).spaces.of(request.get(KEY))


def path_text(request: web.Request) -> Callable[[Path], str]:
    """How this request is told of folders of this machine: by their paths, or short to a key that sees only its own."""
    own = space(request)
    if own.is_whole:
        return str
    short = ShortPaths(front(request).settings, own.folders)
    return lambda path: short.text(str(path))
