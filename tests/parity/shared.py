"""Comparisons of one run of tests, each made by one of its processes: what another one found is read from its file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.parity import table
from tests.parity.recording import Check, Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What comparing a case gave, in words, and whether there were figures at all."""

    passed: bool
    compared: bool
    told: str


@dataclass
class Shared:
    """The comparisons of `checks`; `folder` is that of the run."""

    recording: Recording
    checks: Sequence[Check]
    folder: Path
    seen: dict[str, set[str]] = field(default_factory=dict)  # the tensors of each file that some process looked at
    _found: dict[int, Found] = field(default_factory=dict)
    _told: dict[str, int] = field(default_factory=dict)  # how many of those of this process were told
    _read: dict[Path, int] = field(default_factory=dict)  # how far each file of another process is known

    def of(self, index: int) -> Found:
        """What comparing a case gave."""
        if index not in self._found:
            self._hear()
        if index not in self._found:
            self._compare(index)
        return self._found[index]

    def _compare(self, index: int) -> None:
        outcome = table.outcome(self.checks[index])
        found = Found(passed=outcome.passed, compared=not outcome.failure, told=str(outcome))
        line = [index, found.passed, found.compared, found.told, self._new()]
        self._take(line)
        with (self.folder / f"compared-{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _new(self) -> dict[str, list[str]]:
        """The tensors that this process has looked at since it was asked last."""
        new = {}
        for file in sorted({check.file for check in self.checks}):
            seen = self.recording.tensors(file).seen
            if len(seen) != self._told.get(file):
                self._told[file] = len(seen)
                new[file] = sorted(seen - self.seen.get(file, set()))
        return new

    def _hear(self) -> None:
        """Take in what the other processes have found since."""
        for path in self.folder.glob("compared-*.jsonl"):
            begin = self._read.get(path, 0)
            if path.name != f"compared-{os.getpid()}.jsonl" and path.stat().st_size > begin:
                with path.open("rb") as file:
                    file.seek(begin)
                    whole = file.read().rpartition(b"\n")[0]
                self._read[path] = begin + len(whole) + (1 if whole else 0)
                for line in whole.splitlines():
                    self._take(json.loads(line))

    def _take(self, line: list[object]) -> None:
        index, passed, compared, told, seen = line
        self._found[index] = Found(passed=passed, compared=compared, told=told)
        for file, keys in seen.items():
            self.seen.setdefault(file, set()).update(keys)
