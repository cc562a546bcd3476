"""What a sweep removes, and above all what it leaves alone."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from executor.keeping import keep_of
from executor.leftovers import Attempt, Leftovers
from executor.sweep import STEP, Busy, Gone, Sweep
from executor.written import Account, ended_records

DAY_S = 86400
NO_JOBS = Busy()


class Place:
    """An output folder, its account, and jobs that write into it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.output = base / "output"
        self.output.mkdir()
        self.row = 0
        self.account = Account(base / "user" / "written.sqlite3", self.output)

    def put(self, name: str, days: float, size: int = 10) -> Path:
        """A file of an age, nobody's."""
        path = self.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        os.utime(path, (time.time() - days * DAY_S,) * 2)
        return path

    def job(self, *paths: Path) -> None:
        """A job that wrote these files and has ended."""
        self.row += 1
        attempt = Attempt(self.base / "attempts", self.row, 1)
        for path in paths:
            attempt.made(path, path)
        attempt.close()
        Leftovers(self.base / "attempts", self.base / "ended").forget((self.row,))
        self.account.take(ended_records(self.base / "ended", 1000))

    def written(self, name: str, days: float, size: int = 10) -> Path:
        """A file of an age that a job wrote."""
        path = self.put(name, days, size)
        self.job(path)
        return path

    def sweep(self, *bounds: str, busy: Busy = NO_JOBS, dry: bool = False) -> list[str]:
        """The names of what goes from the output folder."""
        return names(self.of(*bounds, busy=busy, dry=dry).written(self.account))

    def everything(self, *bounds: str, busy: Busy = NO_JOBS, below: Sequence[str] = ()) -> list[str]:
        """The same of a folder of which everything counts."""
        return names(self.of(*bounds, busy=busy).everything(*below))

    def of(self, *bounds: str, busy: Busy = NO_JOBS, dry: bool = False) -> Sweep:
        return Sweep(folder="output", root=self.output, keep=keep_of(bounds), busy=lambda: busy, dry=dry)


def names(steps: Iterator[list[Gone]]) -> list[str]:
    return [gone.name for step in steps for gone in step]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.account.close()


# ---------------------------------------------------------------- what goes


def test_what_is_older_than_the_bound_goes_oldest_first(place):
    for name, days in (("b.png", 9), ("sub/a.png", 12), ("c.png", 5)):
        place.written(name, days)
    assert place.sweep("7d") == ["sub/a.png", "b.png"]
    assert sorted(path.name for path in place.output.iterdir()) == ["c.png", "sub"]


def test_the_newest_files_of_a_number_stay(place):
    for days in range(1, 8):
        place.written(f"{days}.png", days)
    assert place.sweep("3files") == ["7.png", "6.png", "5.png", "4.png"]


def test_the_newest_bytes_of_a_size_stay(place):
    for days, size in ((1, 700), (2, 200), (3, 300), (4, 1)):
        place.written(f"{days}.png", days, size)
    assert place.sweep("1kB") == ["4.png", "3.png"]


def test_any_bound_suffices(place):
    for days in (1, 2, 30):
        place.written(f"{days}.png", days)
    assert place.sweep("7d", "5files", "1GB") == ["30.png"]


def test_a_dry_sweep_tells_the_same_and_removes_nothing(place):
    for days in (1, 9, 10):
        place.written(f"{days}.png", days)
    assert place.sweep("7d", dry=True) == place.sweep("7d", dry=True) == ["10.png", "9.png"]
    assert len(list(place.output.iterdir())) == 3
    assert place.sweep("7d") == ["10.png", "9.png"]


def test_without_bounds_nothing_goes(place):
    place.written("old.png", 1000)
    assert place.sweep() == place.everything() == place.sweep("all") == []


def test_each_step_is_bounded(place):
    place.job(*(place.put(f"{number}.png", 9) for number in range(2 * STEP + 1)))
    assert [len(step) for step in place.of("7d").written(place.account)] == [STEP, STEP, 1]
    for number in range(2 * STEP + 1):
        place.put(f"{number}.png", 9)
    assert [len(step) for step in place.of("7d").everything() if step] == [STEP, STEP, 1]


# ---------------------------------------------------------------- what stays


def test_what_no_job_wrote_stays(place):
    place.put("mine.png", 1000)
    assert place.sweep("1s", "1files", "1kB") == []


@pytest.mark.parametrize("change", ["text", "time", "replaced"])
def test_a_file_that_the_user_changed_or_replaced_stays_for_ever(place, change):
    path = place.written("a.png", 9)
    if change == "time":
        os.utime(path, (time.time() - 8 * DAY_S,) * 2)
    else:
        seen = path.stat()
        if change == "replaced":
            path.unlink()
        path.write_bytes(b"mine")
        os.utime(path, ns=(seen.st_mtime_ns, seen.st_mtime_ns))
    assert place.sweep("7d") == []
    assert path.exists()


def test_files_that_the_user_removed_do_not_count(place):
    for days in range(1, 9):
        path = place.written(f"{days}.png", days)
        if days < 5:
            path.unlink()
    assert place.sweep("4files") == []
    assert place.account.total() == (4, 40)


def test_a_young_file_stays_whatever_the_bounds_say(place):
    place.written("a.png", 0)
    place.written("b.png", 0)
    assert place.sweep("1files", "1s", "1kB") == []
    assert place.everything("1files", "1s") == []


def test_models_that_jobs_saved_stay(place):
    place.written("checkpoints/merged.safetensors", 1000)
    place.written("sub/trained.CKPT", 1000)
    assert place.sweep("1d") == []
    assert place.account.total() == (0, 0)


def test_a_file_outside_the_output_folder_stays(place, tmp_path):
    path = tmp_path / "elsewhere.png"
    path.write_bytes(b"x")
    os.utime(path, (0, 0))
    place.job(path)
    assert place.sweep("1d") == []
    assert path.exists()


@pytest.mark.parametrize("mention", ["a.png", "sub"])
def test_what_a_waiting_job_names_stays(place, mention):
    place.written("sub/a.png", 9)
    busy = Busy(names=frozenset({mention}))
    assert place.sweep("7d", busy=busy) == place.everything("7d", busy=busy) == []
    assert place.sweep("7d") == ["sub/a.png"]


def test_what_a_running_job_wrote_stays(place):
    path = place.put("a.png", 9)
    assert place.everything("7d", busy=Busy(files=frozenset({str(path)}))) == []


def test_in_a_folder_that_is_swept_whole_nothing_goes_that_came_since_a_job_began(place):
    place.put("new.png", 1)
    place.put("old.png", 3)
    began_ns = time.time_ns() - 2 * DAY_S * 10**9
    assert place.everything("1h", busy=Busy(since_ns=began_ns)) == ["old.png"]


def test_half_written_files_stay_for_a_day(place):
    part = "." + "a" * 32 + ".part.png"
    place.put(part, 0.5)
    place.put("new/" + part, 2)
    assert place.everything("1h") == ["new/" + part]


def test_no_link_is_followed_and_none_removed(place, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "theirs.png").write_bytes(b"x" * 10)
    os.utime(outside / "theirs.png", (0, 0))
    (place.output / "link").symlink_to(outside)
    (place.output / "file.png").symlink_to(outside / "theirs.png")
    place.job(place.output / "link" / "theirs.png", place.output / "file.png")
    assert place.sweep("1d") == place.everything("1d") == place.everything("1d", below=["link"]) == []
    assert (outside / "theirs.png").exists()
    assert (place.output / "file.png").is_symlink()


def test_a_folder_that_is_a_link_itself_is_swept(place, tmp_path):
    place.written("a.png", 9)
    place.output.rename(tmp_path / "disk")
    place.output.symlink_to(tmp_path / "disk")
    assert place.sweep("7d") == ["a.png"]


def test_folders_that_are_swept_together_share_their_bounds(place):
    for name, days in (("a/1.png", 4), ("b/2.png", 3), ("a/3.png", 2), ("c/mine.png", 9)):
        place.put(name, days)
    assert place.everything("2files", below=["a", "b", "none"]) == ["a/1.png"]


def test_folders_stay(place):
    place.written("sub/a.png", 9)
    place.put("other/b.png", 9)
    assert sorted(place.everything("7d")) == ["other/b.png", "sub/a.png"]
    assert sorted(path.name for path in place.output.iterdir()) == ["other", "sub"]


def test_a_file_that_cannot_be_removed_is_told_and_the_others_go(place, monkeypatch, caplog):
    for name in ("a.png", "b.png"):
        place.written(name, 9)
    real = Path.unlink

    def unlink(path: Path, **options: bool) -> None:
        if path.name == "a.png":
            raise PermissionError(13, "Permission denied")
        real(path, **options)

    monkeypatch.setattr(Path, "unlink", unlink)
    assert place.sweep("7d") == ["b.png"]
    assert "a.png could not be removed" in caplog.text


# ---------------------------------------------------------------- the account


def test_a_file_that_a_later_job_wrote_anew_is_known_by_its_last_form(place):
    place.written("a.png", 9, 10)
    place.written("a.png", 2, 20)
    assert place.account.total() == (1, 20)
    assert place.sweep("7d") == []
    assert place.sweep("1d") == ["a.png"]


def test_an_account_outlives_its_server(place):
    place.written("a.png", 9)
    place.account.close()
    place.account = Account(place.base / "user" / "written.sqlite3", place.output)
    assert place.sweep("7d") == ["a.png"]


def test_records_are_taken_once_and_broken_lines_left_out(place):
    path = place.put("a.png", 9)
    (place.base / "ended").mkdir()
    record = place.base / "ended" / "1-1-1"
    place.job(path)
    record.write_text('["file", 3]\nnonsense\n["part", "x"]\n["file", "/a", 1, 2')
    place.account.take([record])
    assert place.account.total() == (1, 10)
    assert not record.exists()


def test_a_file_that_never_came_to_be_does_not_count(place):
    place.written("kept.png", 9)
    record = place.base / "ended" / "2-1-1"
    old_ns = time.time_ns() - 10 * DAY_S * 10**9
    lines = [json.dumps(["file", str(place.output / name), 10, old_ns]) for name in ("1" * 300 + ".png", "none.png")]
    record.write_text("\n".join(lines) + "\n")
    place.account.take([record])
    assert place.account.total() == (1, 10)
    assert place.sweep("1files") == []


def test_a_name_that_no_file_can_bear_ends_no_sweep(place):
    place.written("old.png", 9)
    values = ("1" * 300 + ".png", 10, time.time_ns() - 10 * DAY_S * 10**9)
    place.account._db.execute("INSERT INTO written (name, nbytes, mtime_ns) VALUES (?, ?, ?)", values)
    assert place.sweep("1d") == ["old.png"]
    assert place.account.total() == (0, 0)


def test_an_account_of_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "written.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(sqlite3.DatabaseError, match="newer Weft"):
        Account(path, tmp_path)
