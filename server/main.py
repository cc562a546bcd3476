"""Composition root of the front: builds every part once, starts them in order, stops them in order."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import ssl
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from executor.engine.base import Engine
from executor.errors import WeftError
from executor.files import Folders
from executor.leftovers import Leftovers, ended_folder, record_folder, spare_folder
from executor.messages import Clients
from executor.queue.dispatcher import Dispatcher, Limits
from executor.queue.store import Store
from executor.settings import Settings
from executor.short_paths import ShortPaths
from executor.spares import Spares
from server.addresses import opened
from server.app import PROTOCOL, make_app
from server.calls import Calls
from server.commands import COMMANDS
from server.configuration import read_configuration
from server.definitions import Definitions
from server.exposure import require_keys, without_secrets
from server.garbage import collect_on_a_clock
from server.hooks import composer, key_of, read_hook
from server.hub import Changes, Hub
from server.inputs import Inputs
from server.jobs import JobList
from server.jobstate import JobStates
from server.keys import key_ring
from server.logbook import Entry, LogBook
from server.logs import Terminal, log_lightly, set_up_logging
from server.metrics import Metrics
from server.news import News
from server.outbound import Outbound
from server.packfiles import PackFiles
from server.packs import PackHost
from server.proxy import PackProxy
from server.queuelist import QueueList
from server.readiness import Readiness
from server.renewal import Renewal
from server.retention import Retention
from server.spaces import Spaces
from server.state import Front, public_url
from server.stats import SystemStats
from server.submission import Submission
from server.turns import THREADS
from server.version import weft_version
from server.webhooks import Webhooks
from server.webroot import WebRoot, find_web_root
from server.wishes import Wishes

log = logging.getLogger("weft.front")

QUEUE_FILE = "queue.sqlite3"
CLOSING_TIME_S = 2.0


def build(
    settings: Settings,
    engine: Engine,
    *,
    logbook: LogBook | None = None,
    web_root: WebRoot | None = None,
    argv: Sequence[str] = (),
) -> Front:
    """Every part of a front, wired and not started; FrontEndMissing for a web front end that is not here."""
    folders = Folders(settings)
    hub = Hub(separate=settings.isolate_keys)
    packs, pack_files = PackHost(), PackFiles(folders, settings)
    version = f"{weft_version()}{' with keys that separate' if settings.isolate_keys else ''}"
    definitions = Definitions(
        folders, packs, packs_mark=pack_files.mark, version=version, wait_s=settings.startup_wait_s
    )
    store = Store(settings.folder("user") / QUEUE_FILE, history_limit=settings.history_limit)
    news = News(
        folders,
        definitions,
        packs,
        lambda: engine.workers()[0],
        greet=lambda worker: engine.inform(worker, Clients(changes=hub.connected(), whole=True)),
    )

    def inform(changes: Changes) -> None:
        for worker in engine.workers():
            engine.inform(worker.id, Clients(changes=changes))

    hub.on_change = inform
    metrics = news.metrics = Metrics(store, engine, hub.count)
    dispatcher = Dispatcher(
        store,
        engine,
        hub.publish,
        hub.publish_blob,
        ears=replace(news.ears(), ending=lambda job: hub.hurry(job.client_id, job.owner)),
        limits=Limits(waiting=settings.max_queue, job_timeout_s=settings.job_timeout_s),
        leftovers=Leftovers(record_folder(settings), ended_folder(settings), Spares(spare_folder(settings))),
    )
    renewal = Renewal(definitions, dispatcher, separate=settings.isolate_keys)
    outbound = Outbound(opened(settings.allow_outbound))
    inputs = Inputs(folders, outbound, most_bytes=settings.upload_bytes)
    store.deliveries.compose = composer(public_url(settings))
    store.deliveries.everyone = read_hook(settings.webhook, "--webhook", outbound.check)
    if settings.webhook_secret is not None:
        key_of(settings.webhook_secret, "--webhook-secret")
    spaces = Spaces(folders, separate=settings.isolate_keys, multi_user=settings.multi_user)
    submission = Submission(
        definitions, spaces, dispatcher, packs, renewal, inputs, outbound.check, settings.startup_wait_s
    )
    news.wishes = Wishes(store, dispatcher, submission)
    return Front(
        settings=settings,
        keys=key_ring(settings),
        spaces=spaces,
        folders=folders,
        hub=hub,
        definitions=definitions,
        store=store,
        engine=engine,
        dispatcher=dispatcher,
        submission=submission,
        calls=Calls(submission, dispatcher),
        webhooks=Webhooks(store.deliveries, outbound, settings.webhook_secret, told=metrics.webhook),
        queue=QueueList(store, id_first=settings.queue_items == "id-first"),
        jobs=JobList(store),
        job_states=JobStates(dispatcher),
        logbook=logbook or LogBook(),
        metrics=metrics,
        stats=SystemStats(engine, definitions, argv, ShortPaths(settings, folders).words(argv)),
        web=web_root or find_web_root(settings),
        packs=packs,
        pack_files=pack_files,
        proxy=PackProxy(packs, dispatcher.host, pack_files.any, wait_s=settings.startup_wait_s),
        readiness=Readiness(dispatcher, folders),
        renewal=renewal,
        retention=Retention(settings, folders, store.ageing, store.unfinished, metrics),
        argv=argv,
    )


def make_engine(settings: Settings) -> Engine:
    """The engine that the settings ask for."""
    if settings.in_process:
        from executor.engine.inprocess import InProcessEngine

        return InProcessEngine(settings, loader="nodes:load")
    from executor.engine.process import ProcessEngine

    return ProcessEngine(settings, loader="nodes:load")


class Server:
    """A front and its listening sockets."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.url = ""
        self._sites: list[web.TCPSite] = []
        self._runner = web.AppRunner(
            make_app(front), handle_signals=False, access_log=None, shutdown_timeout=CLOSING_TIME_S, **PROTOCOL
        )

    async def start(self) -> None:
        """Open the queue, listen, then start the workers; requests are answered from the second step on.

        Raises OSError if no address can be listened on, WeftError if the queue's file cannot be used.
        """
        front = self.front
        front.folders.create()
        empty(front.folders.root("temp"))
        await front.store.open()
        front.definitions.load()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="front"))

        def tell(entry: Entry) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(front.hub.publish_log, {"entries": [entry], "size": None})

        front.logbook.listener, front.logbook.is_heard = tell, front.hub.is_log_read
        await self._runner.setup()
        await self._listen()
        await front.dispatcher.start()
        front.webhooks.start()
        front.retention.start()

    async def stop(self) -> None:
        """Let the running prompt end or put it back, answering all the while, then close and end the rest."""
        front = self.front
        await front.dispatcher.stop(front.settings.drain_timeout_s)
        front.store.waiters.close()
        await front.webhooks.stop()
        for site in self._sites:
            await site.stop()
        await front.hub.close()
        await front.proxy.close()
        await self._runner.cleanup()
        await front.retention.close()
        await front.renewal.close()
        await front.definitions.close()
        await front.store.close()
        front.logbook.listener = None
        empty(front.folders.root("temp"))

    async def _listen(self) -> None:
        settings = self.front.settings
        port, failures = settings.port, []
        tls = _tls(settings.tls_cert, settings.tls_key)
        for host in settings.host.split(","):
            site = web.TCPSite(self._runner, host.strip(), port, ssl_context=tls)
            try:
                await site.start()
            except OSError as failure:
                failures.append(failure)
                continue
            self._sites.append(site)
            port = port or _port(self._runner)
            self.url = self.url or f"{'https' if tls else 'http'}://{_shown(host.strip())}:{port}"
        if not self._sites:
            raise OSError(f"{failures[0].strerror or failures[0]}; --port 0 takes a free port") from failures[0]
        for refused in failures:
            log.warning("not listening everywhere: %s", refused)


def _port(runner: web.AppRunner) -> int:
    address = runner.addresses[0]
    return int(address[1])


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl's own errors are of this kind too, and name no file
        raise OSError(f"--tls-certfile {certificate} and --tls-keyfile {key} cannot be used: {error}") from error
    return context


def empty(folder: Path) -> None:
    """Remove everything in the temp folder; what cannot be removed stays, with a warning."""
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            log.warning("%s could not be removed: %s", path, error)


# ---------------------------------------------------------------- the process


def main(argv: Sequence[str] | None = None, *, may_be_open: bool = False) -> int:
    """Run a server until it is told to stop, or one of the commands; returns the exit status.

    `argv` None: the process's arguments. `may_be_open`: listening beyond this machine without keys is a warning only.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        return COMMANDS[argv[0]](argv[1:])
    if "--version" in argv:
        sys.stdout.write(f"Weft {weft_version()}\n")
        return 0
    told = read_configuration(argv, os.environ)
    logbook = LogBook()
    terminal = set_up_logging(told.settings, logbook)
    if not told.settings.in_process:  # packs may log in forms of their own
        log_lightly()
    if told.ignored:
        log.warning("accepted without effect: %s", " ".join(told.ignored))
    try:
        require_keys(told.settings, argv, may_be_open=may_be_open)
        asyncio.run(_serve(told.settings, logbook, terminal, [sys.argv[0], *without_secrets(argv)]))
    except (OSError, WeftError) as error:
        log.error("cannot start: %s", error)
        return 1
    return 0


async def _serve(settings: Settings, logbook: LogBook, terminal: Terminal, argv: Sequence[str]) -> None:
    stopping = asyncio.Event()
    _hear_signals(stopping)
    server = Server(build(settings, make_engine(settings), logbook=logbook, argv=argv))
    await server.start()
    garbage = asyncio.create_task(collect_on_a_clock(), name="garbage")
    sys.stdout.write(f"Weft {weft_version()} is listening on {server.url}\n")
    sys.stdout.flush()
    log.info("bound to %s; %s", settings.host, keys_told(server.front))
    with terminal.gathered():
        await stopping.wait()
        garbage.cancel()
        log.info("stopping%s", drain_told(server.front))
        await server.stop()


def drain_told(front: Front) -> str:
    """What the log says at a stop of the prompts that run."""
    running = len(front.dispatcher.current())
    prompts = "the running prompt has" if running == 1 else f"{running} running prompts have"
    return f"; {prompts} {front.settings.drain_timeout_s:g} s to end" if running else ""


def keys_told(front: Front) -> str:
    """What somebody who starts a server should know of its keys."""
    count = len(front.keys)
    told = f"asks for one of {count} keys" if count > 1 else "asks for a key" if count else "asks for no key"
    if not front.settings.isolate_keys:
        return told
    separate = front.keys.separate()
    if not separate:
        return f"{told}; --isolate-keys separates none: each has the scope manage, or isolate = false"
    return f"{told}, {separate} of which see only what is their own"


def _hear_signals(stopping: asyncio.Event) -> None:
    """The first signal stops in order; the second ends the process at once, which loses nothing that is queued."""

    def hear() -> None:
        if stopping.is_set():
            logging.shutdown()  # what waits to be written
            os._exit(130)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, hear)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(hear))
