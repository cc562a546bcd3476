"""What came of each pack: its nodes, its routes, what it asked for and did not get. Loads nothing."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

from nodes.packs.discover import Pack

State = Literal["loaded", "failed", "empty", "skipped"]

_NO_NAME = re.compile(r"cannot import name '([^']+)' from '([^']+)'")


@dataclass(slots=True, kw_only=True)
class PackReport:
    """One pack, as GET /weft/packs shows it; filled in while it is loaded."""

    pack: Pack
    state: State = "skipped"
    seconds: float = 0.0
    nodes: list[str] = field(default_factory=list)
    failed_nodes: dict[str, str] = field(default_factory=dict)
    error: str = ""
    traceback: str = ""
    missing: list[str] = field(default_factory=list)
    routes: list[str] = field(default_factory=list)
    web: str = ""
    hooks: int = 0

    def told(self, seams: Iterable[str] = ()) -> dict[str, object]:
        """The report as JSON data."""
        return {
            "name": self.pack.name,
            "module": self.pack.module,
            "folder": str(self.pack.path),
            "state": self.state,
            "seconds": round(self.seconds, 3),
            "nodes": list(self.nodes),
            "failed_nodes": dict(self.failed_nodes),
            "error": self.error,
            "traceback": self.traceback,
            "missing": list(self.missing),
            "routes": list(self.routes),
            "hooks": self.hooks,
            "web": self.web,
            "seams": list(seams),
        }

    def miss(self, name: str) -> bool:
        """Note a name that the pack asked for and did not get; False if it was noted before."""
        if name in self.missing:
            return False
        self.missing.append(name)
        return True


class Reports:
    """The reports of all packs, and which pack is at work."""

    def __init__(self, packs: Iterable[Pack]) -> None:
        self.rows = [PackReport(pack=pack) for pack in packs]
        self.loading: PackReport | None = None
        self._by_path = {str(row.pack.path): row for row in self.rows}
        self._roots = {str(row.pack.path.parent) + os.sep for row in self.rows}

    def asking(self) -> PackReport | None:
        """The pack whose code calls, by the call stack; else the one that is being imported."""
        frame = sys._getframe(1)
        while frame is not None:
            owner = self.owner(frame.f_code.co_filename)
            if owner is not None:
                return owner
            if frame.f_back is None:
                break
            frame = frame.f_back
        return self.loading

    def owner(self, filename: str) -> PackReport | None:
        """The pack that a source file belongs to."""
        for root in self._roots:
            if filename.startswith(root):
                return self._by_path.get(root + filename[len(root) :].split(os.sep, 1)[0])
        return None


def table(rows: Iterable[PackReport]) -> str:
    """Import times for the log, a line per pack that was tried, the slowest last."""
    tried = sorted((row for row in rows if row.state != "skipped"), key=lambda row: row.seconds)
    lines = [f"{row.seconds:7.1f} s  {_outcome(row):<14} {row.pack.path}" for row in tried]
    return "\n".join(["packs by import time:", *lines])


def _outcome(row: PackReport) -> str:
    return row.state if row.state != "loaded" else f"{len(row.nodes)} nodes"


def missed(failure: BaseException) -> str:
    """The name that an import failed at ("cv2", "comfy.x.Name"), or ""."""
    if not isinstance(failure, ImportError):
        return ""
    told = _NO_NAME.search(str(failure))
    return f"{told[2]}.{told[1]}" if told else failure.name or ""


def inside_pack(failure: BaseException, pack: Path) -> TracebackType | None:
    """The traceback of a failure from the first line of the pack on; the whole when none of it is the pack's."""
    trace = failure.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).is_relative_to(pack):
            return trace
        trace = trace.tb_next
    return failure.__traceback__


def advice(failure: BaseException, pack: Path) -> str:
    """What a person may do about a pack that cannot be imported, or ""."""
    needs = pack / "requirements.txt"
    if isinstance(failure, ModuleNotFoundError) and needs.is_file():
        return f'its requirements are perhaps not installed: {sys.executable} -m pip install -r "{needs}"'
    return ""
