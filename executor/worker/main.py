"""Start of a worker: connects and answers the front first, then imports torch and the nodes and goes to work."""

from __future__ import annotations

import gc
import importlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from executor.claims import CLAIMS_FILE, Claims
from executor.files import Folders
from executor.large_pages import allocated, enlarge
from executor.messages import Boot, Hello
from executor.outbox import Outbox
from executor.worker.control import Control
from executor.worker.line import Line
from executor.worker.log_lines import send_logs, send_writes
from executor.worker.services import Services

Prestart = Callable[[Services], None]

LARGE_PAGES_S = 5.0
"""From the start of work until what is allocated by then comes to lie in large pages: it takes a core 0.3 s."""


def serve(sock: socket.socket, boot: Boot, loader: str, *, in_process: bool = False) -> int:
    """Be a worker on a connected socket until it closes or Stop comes; returns the exit code.

    The loader's module may have a function `prestart`, which is called before torch is imported. Raises what the
    loader raises. A process of its own ends at once when the channel closes; as threads of the front
    (`in_process`) it ends after the running node's next checkpoint.
    """
    control = Control(sock, on_end=_stay if in_process else os._exit)
    control.start()
    if boot.outbox is not None:
        control.collect(Outbox.on(boot.outbox))
        os.close(boot.outbox)
    control.send(Hello(token=boot.token, pid=os.getpid()))
    if not in_process:
        send_logs(control.send, boot.settings.log_level)
    line = Line(control, worker=boot.worker, token=boot.token, run_folder=_run_folder(sock), own=not in_process)
    if not in_process and boot.settings.log_format == "json":
        send_writes(control.send, lambda: line.run.job_id if line.run is not None else "")
    control.on_clients = line.clients_changed
    folders = Folders(boot.settings)
    if boot.settings.workers > 1:
        folders.claims = Claims((line.run_folder or folders.user) / CLAIMS_FILE, boot.worker)
    services = Services(settings=boot.settings, folders=folders, line=line)
    try:
        prestart: Prestart | None = getattr(importlib.import_module(loader.partition(":")[0]), "prestart", None)
        if prestart is not None:
            prestart(services)
        from executor.worker.runtime import load_worker, work

        worker = load_worker(control, services, loader, in_process=in_process)
        if not in_process:
            gc.freeze()  # torch and the nodes stay: the collector need not walk them again and again
            tidying = threading.Timer(LARGE_PAGES_S, enlarge, [allocated()])  # no models are there yet
            tidying.daemon = True
            tidying.start()
        return work(worker)
    finally:
        control.flush()
        if in_process:
            line.close()
            if services.packs is not None:
                services.packs.close()
            control.close()


def _run_folder(sock: socket.socket) -> Path | None:
    """The private folder that the front's socket lies in; None for other kinds of sockets."""
    name = sock.getpeername()
    return Path(name).parent if isinstance(name, str) and name else None


def _stay(code: int) -> None:
    """The end of the channel does not end the front's own process."""
