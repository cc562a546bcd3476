"""The server that runs on this machine with the same settings: where it answers, and whether it holds a file."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import psutil

from executor.settings import Settings

PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A Weft that answers at an address of this machine, and the processes of its workers."""

    url: str
    version: str
    worker_pids: tuple[int, ...]

    def holds(self, path: Path) -> bool | None:
        """Tell whether a process of it has a file open; None where none can be looked at, as with --in-process."""
        files: list[Path] = []
        for process in self._processes():
            with suppress(psutil.Error):
                files += [Path(file.path) for file in process.open_files()]
        return path.resolve() in files if files else None

    def _processes(self) -> Iterator[psutil.Process]:
        """Workers and the front that started them."""
        for pid in self.worker_pids:
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                yield from (process, *process.parents()[:1])


def find_neighbour(settings: Settings) -> Neighbour | None:
    """Ask at the address of the settings whether a Weft runs there; None where nothing answers as one does."""
    url = address(settings)
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=trust(settings)))
    try:
        with opener.open(f"{url}/health", timeout=PATIENCE_S) as answer:
            told = json.load(answer)
        pids = tuple(worker["pid"] for worker in told["workers"] if worker["pid"] is not None)
        return Neighbour(url, told["version"], pids)
    except (OSError, ValueError, LookupError, TypeError):  # nothing, another program, or no HTTP
        return None


def address(settings: Settings) -> str:
    """Where a server of these settings is reached from its own machine."""
    host = next(iter(settings.host.split(","))).strip()
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if settings.tls_cert else 'http'}://{host}:{settings.port}"


def trust(settings: Settings) -> ssl.SSLContext | None:
    """A server of this machine proves itself by the certificate that the settings name, whatever its name there."""
    if settings.tls_cert is None:
        return None
    context = ssl.create_default_context(cafile=str(settings.tls_cert))
    context.check_hostname = False
    return context
