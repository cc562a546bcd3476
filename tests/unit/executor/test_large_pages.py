"""Which memory is asked to lie in large pages."""

from __future__ import annotations

import sys

import pytest

from executor import large_pages
from executor.large_pages import LARGE, allocated, enlarge, regions


def line(start: int, end: int, access: str = "rw-p", name: str = "", inode: int = 0) -> str:
    return f"{start:x}-{end:x} {access} 00000000 00:00 {inode} {name}".rstrip()


def test_the_heap_and_memory_of_no_file_count_in_whole_large_pages():
    heap = line(LARGE - 4096, 3 * LARGE + 4096, name="[heap]")
    arena = line(8 * LARGE, 9 * LARGE)
    assert list(regions([heap, arena])) == [(LARGE, 3 * LARGE), (8 * LARGE, 9 * LARGE)]


@pytest.mark.parametrize(
    "other",
    [
        line(0, LARGE - 4096),
        line(4096, 2 * LARGE - 4096),
        line(0, 4 * LARGE, "r-xp", "/usr/lib/a library.so", 7),
        line(0, 4 * LARGE, "rw-p", "/memfd:x (deleted)", 7),
        line(0, 4 * LARGE, "rw-p", "[stack]"),
        line(0, 4 * LARGE, "rw-s"),
        line(0, 4 * LARGE, "---p"),
    ],
)
def test_nothing_else_does(other):
    assert list(regions([other])) == []


def test_the_stack_of_a_thread_does_not():
    assert list(regions([line(0, 4096, "---p"), line(4096, 4 * LARGE)])) == []


def test_memory_stays_what_it_was():
    kept = [bytes([number]) * 100_000 for number in range(100)]
    enlarge(allocated())
    assert all(each == bytes([number]) * 100_000 for number, each in enumerate(kept))


@pytest.mark.skipif(sys.platform != "linux", reason="reads how this process's memory lies")
def test_nothing_is_asked_for_where_the_system_allows_none(monkeypatch, tmp_path):
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    monkeypatch.setattr(large_pages, "ALLOWED", tmp_path / "enabled")
    (tmp_path / "maps").write_text(line(0, 4 * LARGE))
    monkeypatch.setattr(large_pages, "MAPS", tmp_path / "maps")
    assert allocated() == []
