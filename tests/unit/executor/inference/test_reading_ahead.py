"""Mapped files are read while other work goes on, unless they are small or memory is short."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from executor.inference import reading_ahead
from executor.inference.reading_ahead import read, read_ahead

NBYTES = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is read ahead")


@pytest.fixture
def mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.UntypedStorage:
    """A mapped file that counts as large."""
    monkeypatch.setattr(reading_ahead, "LEAST_BYTES", NBYTES)
    (tmp_path / "large").write_bytes(bytes(NBYTES))
    return torch.UntypedStorage.from_file(str(tmp_path / "large"), False, NBYTES)


def present(mapped: torch.UntypedStorage) -> int:
    """Bytes of a mapping that this process can use without asking for them (proc(5), smaps)."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(found[1], 16) <= mapped.data_ptr() < int(found[2], 16)
        elif inside and line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no such mapping")


@linux
def test_every_page_is_there_before_anybody_asks(mapped):
    thread = read_ahead(mapped)
    assert thread is not None
    thread.join()
    assert present(mapped) == NBYTES


@linux
def test_a_file_that_memory_hardly_holds_is_left_to_its_users(mapped, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2 * NBYTES - 1))
    assert read_ahead(mapped) is None


@linux
def test_a_small_file_is_left_to_its_users(mapped, monkeypatch):
    monkeypatch.setattr(reading_ahead, "LEAST_BYTES", NBYTES + 1)
    assert read_ahead(mapped) is None


def test_a_system_that_refuses_is_asked_once(mapped, monkeypatch):
    monkeypatch.setattr(reading_ahead, "STEP", NBYTES // 4)
    asked = []
    read(mapped, lambda *what: asked.append(what) or -1)
    assert len(asked) == 1


def test_all_of_a_file_is_asked_for_in_steps(mapped, monkeypatch):
    monkeypatch.setattr(reading_ahead, "STEP", NBYTES * 2 // 3)
    asked = []
    read(mapped, lambda start, nbytes, advice: asked.append((start - mapped.data_ptr(), nbytes)) or 0)
    assert asked == [(0, NBYTES * 2 // 3), (NBYTES * 2 // 3, NBYTES - NBYTES * 2 // 3)]
