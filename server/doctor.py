"""Looks whether a server would work on this machine and says what to do where it would not. Starts one worker."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from executor.engine.base import Engine, Heard, WorkerLost
from executor.errors import DatabaseUnusable, KeysUnusable
from executor.files import ROOTS, Folders
from executor.messages import Ready
from executor.queue.database import Database
from executor.settings import Settings
from server.cleaning import QUEUE_FILE
from server.exposure import require_keys
from server.keys import key_ring
from server.neighbour import Neighbour, find_neighbour
from server.retention import bounds_text

State = Literal["good", "odd", "bad"]

WORKER_WAIT_S = 120.0
LITTLE_SPACE = 2 << 30  # bytes
_MARKS = {"good": "ok  ", "odd": "note", "bad": "BAD "}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: how it stands, what was seen, and what to do about it."""

    state: State
    topic: str
    seen: str
    advice: str = ""


async def examine(settings: Settings, engine: Engine, argv: Sequence[str] = ()) -> list[Finding]:
    """Everything looked at, in the order in which it would stop a start; `argv` are the server's flags."""
    folders = Folders(settings)
    neighbour = await asyncio.to_thread(find_neighbour, settings)
    found = [
        *_folders(folders),
        *_space(folders),
        _retention(settings),
        await _database(settings, neighbour),
        _address(settings, neighbour),
        _keys(settings, argv),
    ]
    found += _models(folders)
    return [*found, *await _worker(engine, _most_ends(folders), asked_for_cpu=settings.vram_mode == "cpu")]


def report(findings: Iterable[Finding]) -> str:
    """The findings as lines for a person, the advice below each."""
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.state]}  {finding.topic}: {finding.seen}\n")
        lines += [f"        {line}\n" for line in finding.advice.splitlines()]
    return "".join(lines)


# ---------------------------------------------------------------- files


def _folders(folders: Folders) -> list[Finding]:
    return [_folder(name, folders.root(name)) for name in ROOTS] + [
        _folder("user", folders.user),
        _folder("custom_nodes", folders.custom_nodes, writes=False),
        _folder("models", folders.models, writes=False),
    ]


def _folder(name: str, path: Path, *, writes: bool = True) -> Finding:
    topic = f"folder {name}"
    if not path.exists():
        parent = next(above for above in path.parents if above.exists())
        return Finding("odd", topic, f"{path} is not there yet", f"It will be made in {parent} at the start.")
    if not path.is_dir():
        return Finding("bad", topic, f"{path} is no folder", f"Move that file away, or use --{name}-directory.")
    try:
        if writes:
            with tempfile.TemporaryFile(dir=path):
                pass
        next(path.iterdir(), None)
    except OSError as error:
        advice = f"Give this user the right to {'write' if writes else 'read'} there: chown or chmod {path}"
        return Finding("bad", topic, f"{path}: {error.strerror}", advice)
    return Finding("good", topic, str(path))


def _space(folders: Folders) -> list[Finding]:
    findings = []
    for name in ("output", "temp"):
        path = next(place for place in (folders.root(name), *folders.root(name).parents) if place.exists())
        free = shutil.disk_usage(path).free
        seen = f"{free / (1 << 30):.1f} GB free"
        bound = "--keep-outputs" if name == "output" else "--keep-temp"
        advice = (
            f"Pictures cannot be saved once it is full: clear {path}, move the folder (--{name}-directory), "
            f"or bound what is kept there ({bound} 30d 20GB; weft clean --dry-run shows what would go)."
        )
        state: State = "odd" if free < LITTLE_SPACE else "good"
        findings.append(Finding(state, f"disk of {name}", seen, advice if state == "odd" else ""))
    return findings


def _retention(settings: Settings) -> Finding:
    return Finding("good", "what is kept", bounds_text(settings))


def _models(folders: Folders) -> list[Finding]:
    count = len(folders.names("checkpoints")) + len(folders.names("diffusion_models"))
    places = ", ".join(map(str, folders.paths("checkpoints")))
    if count:
        return [Finding("good", "models", f"{count} checkpoints and diffusion models in {places}")]
    advice = "Put a checkpoint there, or name ComfyUI's folders in extra_model_paths.yaml."
    return [Finding("odd", "models", f"no checkpoint in {places}", advice)]


async def _database(settings: Settings, neighbour: Neighbour | None) -> Finding:
    path = settings.folder("user") / QUEUE_FILE
    if not path.exists():
        return Finding("good", "queue", f"{path} will be made at the start")
    database = Database(path)
    try:
        await database.open()
        rows = await database.run(_rows)
        await database.close()
    except DatabaseUnusable as error:
        if "another server" not in str(error):
            return Finding("bad", "queue", str(error))
        if neighbour is not None and neighbour.holds(path) is not False:
            return Finding("good", "queue", f"{path} is in use by the server at {neighbour.url}")
        advice = "Stop the other server, or give this one a --user-directory of its own."
        return Finding("bad", "queue", str(error), advice)
    except sqlite3.Error as error:
        return Finding("bad", "queue", f"{path} is damaged: {error}", "Move the file away: a new one is made.")
    return Finding("good", "queue", f"{path}: {rows[0]} waiting, {rows[1]} ended")


def _rows(connection: sqlite3.Connection) -> tuple[int, int]:
    (waiting,) = connection.execute("SELECT COUNT(*) FROM queue").fetchone()
    (ended,) = connection.execute("SELECT COUNT(*) FROM history").fetchone()
    return waiting, ended


# ---------------------------------------------------------------- the network


def _address(settings: Settings, neighbour: Neighbour | None) -> Finding:
    for host in map(str.strip, settings.host.split(",")):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, settings.port))
        except OSError as error:
            if neighbour is not None and error.errno == errno.EADDRINUSE:
                return _neighbours(settings, neighbour)
            advice = "Another program listens there; stop it, or take another port: --port 0 finds a free one."
            return Finding("bad", "address", f"{host} port {settings.port}: {error.strerror}", advice)
    return Finding("good", "address", f"{settings.host} port {settings.port} is free")


def _neighbours(settings: Settings, neighbour: Neighbour) -> Finding:
    """What a Weft at the address means: this very server runs already, or one of other folders has its port."""
    seen = f"Weft {neighbour.version} answers at {neighbour.url}"
    if neighbour.holds(settings.folder("user") / QUEUE_FILE) is False:
        advice = "It works in other folders; stop it, or take another port: --port 0 finds a free one."
        return Finding("bad", "address", f"{seen}, with a queue of its own", advice)
    return Finding("odd", "address", f"{seen}: this server runs already", "Stop it before you start it anew.")


def _keys(settings: Settings, argv: Sequence[str]) -> Finding:
    try:
        keys = len(key_ring(settings))
        require_keys(settings, argv)
    except KeysUnusable as error:
        return Finding("bad", "keys", str(error))
    return Finding("good", "keys", f"{keys} keys" if keys else "none asked for; reached from this machine only")


# ---------------------------------------------------------------- the worker


def _most_ends(folders: Folders) -> int:
    """How many starts packs may end: each one, as in a server, whose next worker leaves it out."""
    return sum(len(list(folder.iterdir())) for folder in folders.paths("custom_nodes") if folder.is_dir())


async def _worker(engine: Engine, most_ends: int, *, asked_for_cpu: bool) -> list[Finding]:
    """What a worker tells once it is up: its device and its packs."""
    lost, heard = 0, Heard()
    await engine.start(heard)
    try:
        async with asyncio.timeout(WORKER_WAIT_S):
            while True:
                _, message = await heard.next()
                if isinstance(message, Ready):
                    return [*_devices(message, asked_for_cpu=asked_for_cpu), *_packs(message)]
                if isinstance(message, WorkerLost) and (lost := lost + 1) > most_ends:
                    advice = "Its last words stand above. --disable-all-custom-nodes tells whether a pack ends it."
                    return [Finding("bad", "worker", f"it ended as it started: {message.reason}", advice)]
    except TimeoutError:
        pass
    finally:
        await engine.stop()
    return [Finding("bad", "worker", f"it was not ready after {WORKER_WAIT_S:g} s", "A pack may hang as it loads.")]


def _devices(ready: Ready, *, asked_for_cpu: bool) -> list[Finding]:
    findings = []
    for device in ready.devices:
        free, total = device.vram_free >> 20, device.vram_total >> 20
        seen = f"{device.name}, {free} of {total} MiB free, torch {ready.torch_version}"
        slow = "Without a GPU pictures take minutes; if there is one, its driver or a CUDA build of torch is missing."
        is_odd = device.type == "cpu" and not asked_for_cpu
        findings.append(Finding("odd" if is_odd else "good", "device", seen, slow if is_odd else ""))
    return [*findings, Finding("good", "nodes", f"{len(ready.definitions)} classes")]


def _packs(ready: Ready) -> list[Finding]:
    findings = []
    for pack in json.loads(ready.packs.report_json):
        name, state = pack["name"], pack["state"]
        if state == "failed":
            advice = f"The server runs without it; what it needs stands in {pack['folder']} and in the log above."
            findings.append(Finding("odd", f"pack {name}", pack["error"], advice))
            continue
        unlisted = [f"{node} cannot be listed: {error}" for node, error in pack["failed_nodes"].items()]
        lacks = [f"lacks {', '.join(pack['missing'])}"] if pack["missing"] else []
        seen = [f"{state}, {len(pack['nodes'])} nodes", *filter(None, [pack["error"]]), *lacks]
        is_odd = bool(unlisted or lacks or pack["error"])
        findings.append(Finding("odd" if is_odd else "good", f"pack {name}", "; ".join(seen), "\n".join(unlisted)))
    return findings
