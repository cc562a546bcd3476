"""Records of what attempts wrote: removed when lost, kept when done, and never another's file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.context import RunContext, entered
from executor.files import Folders
from executor.leftovers import Attempt, Leftovers, files_of, files_stand
from executor.settings import Settings
from executor.spares import Spares
from executor.wholefile import whole, write_whole
from executor.written import ended_records


def write(path: Path, attempt: Attempt, text: bytes = b"x") -> None:
    write_whole(path, lambda file: file.write(text), record=attempt)


@pytest.fixture
def leftovers(tmp_path: Path) -> Leftovers:
    return Leftovers(tmp_path / "attempts")


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Attempt]:
    made = Attempt(tmp_path / "attempts", 7, 1)
    yield made
    made.close()


def test_what_a_lost_attempt_wrote_is_removed(tmp_path: Path, leftovers: Leftovers, attempt: Attempt):
    write(tmp_path / "a.png", attempt)
    leftovers.remove(7)
    assert not (tmp_path / "a.png").exists()
    assert leftovers.take_stock({7}) == set()


def test_a_half_written_file_of_a_dead_worker_is_removed(tmp_path: Path, leftovers: Leftovers, attempt: Attempt):
    with whole(tmp_path / "a.png", record=attempt) as part:
        part.write_bytes(b"half")
        saved = part.read_bytes()
        os.link(part, tmp_path / "kept")
    os.replace(tmp_path / "kept", part)
    assert saved == b"half"
    leftovers.remove(7)
    assert list(tmp_path.glob(".*.part*")) == []


def test_a_file_that_took_the_place_of_the_lost_one_stays(tmp_path: Path, leftovers: Leftovers, attempt: Attempt):
    write(tmp_path / "a.png", attempt)
    write_whole(tmp_path / "a.png", lambda file: file.write(b"theirs"))
    leftovers.remove(7)
    assert (tmp_path / "a.png").read_bytes() == b"theirs"


def test_a_line_that_breaks_off_hides_no_other(tmp_path: Path, leftovers: Leftovers, attempt: Attempt):
    write(tmp_path / "a.png", attempt)
    record = tmp_path / "attempts" / "7-1"
    record.write_bytes(record.read_bytes() + b'["file", "/some')
    leftovers.remove(7)
    assert not (tmp_path / "a.png").exists()


def test_records_of_jobs_that_ended_are_forgotten_and_their_files_stay(tmp_path: Path, attempt: Attempt):
    write(tmp_path / "a.png", attempt)
    leftovers = Leftovers(tmp_path / "attempts")
    assert leftovers.take_stock({70}) == set()
    assert (tmp_path / "a.png").exists()
    assert list((tmp_path / "attempts").iterdir()) == []


def test_another_row_s_files_stay(tmp_path: Path, leftovers: Leftovers, attempt: Attempt):
    other = Attempt(tmp_path / "attempts", 77, 1)
    write(tmp_path / "b.png", other)
    other.close()
    write(tmp_path / "a.png", attempt)
    leftovers.remove(7)
    assert (tmp_path / "b.png").exists()


def test_files_that_nodes_show_count_when_they_are_new(tmp_path: Path, leftovers: Leftovers, attempt: Attempt):
    folders = Folders(Settings(base_directory=tmp_path))
    folders.create()
    for name in ("old.png", "new.png"):
        (tmp_path / "output" / name).write_bytes(b"x")
    os.utime(tmp_path / "output" / "old.png", ns=(1, 1))
    attempt.begin(time.time_ns() - 10**9)
    shown = [{"filename": name, "subfolder": "", "type": "output"} for name in ("old.png", "new.png", "../x", "")]
    attempt.shown({"images": shown, "text": ["a"], "n": 3}, folders)
    attempt.close()
    leftovers.remove(7)
    assert [path.name for path in (tmp_path / "output").iterdir()] == ["old.png"]


def test_an_attempt_that_writes_nothing_leaves_no_record(tmp_path: Path, attempt: Attempt):
    attempt.close()
    assert not attempt.has_files
    assert not (tmp_path / "attempts").exists()


def test_a_record_that_cannot_be_written_keeps_no_file_from_being_written(tmp_path: Path, attempt: Attempt):
    (tmp_path / "attempts").write_text("a file in the folder's place")
    write(tmp_path / "a.png", attempt)
    assert (tmp_path / "a.png").exists()


def test_a_sequence_stands_while_all_its_pictures_are_there(tmp_path: Path):
    folders = Folders(Settings(base_directory=tmp_path))
    folders.create()
    for name in ("v.001.png", "v.002.png"):
        (tmp_path / "output" / name).write_bytes(b"x")
    output = {"gifs": [{"filename": "v.%03d.png", "subfolder": "", "type": "output", "frames": 2}]}
    assert files_stand(output, folders)
    (tmp_path / "output" / "v.002.png").unlink()
    assert not files_stand(output, folders)


def test_what_a_node_was_still_writing_goes_where_nothing_repeats_it(tmp_path: Path, attempt: Attempt):
    for node_id, name in (("1", "a.png"), ("2", "b.png"), ("", "c.png")):
        with entered(RunContext(node_id=node_id)):
            write(tmp_path / name, attempt)
    leftovers = Leftovers(tmp_path / "attempts", tmp_path / "written")
    leftovers.settle(7, {"1"})
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["a.png", "c.png"]
    assert [Path(path).name for path in handed_on(tmp_path / "written")] == ["a.png", "b.png", "c.png"]


def handed_on(folder: Path) -> list[str]:
    """The files that records which were handed on tell of."""
    return [path for record in ended_records(folder, 99) for path, *_ in files_of(record)]


def closed(folder: Path, row: int, spares: Spares | None = None) -> None:
    """An attempt that writes one file and ends."""
    attempt = Attempt(folder / "attempts", row, 1, spares)
    write(folder / f"{row}.png", attempt)
    attempt.close()


def test_records_of_jobs_that_ended_are_handed_on_together_and_serve_again(tmp_path: Path):
    spares = Spares(tmp_path / "spare")
    leftovers = Leftovers(tmp_path / "attempts", tmp_path / "written", spares)
    closed(tmp_path, 1)
    closed(tmp_path, 2)
    kept = {(tmp_path / "attempts" / name).stat().st_ino for name in ("1-1", "2-1")}
    leftovers.forget({1, 2}, closed=True)
    assert sorted(handed_on(tmp_path / "written")) == [str(tmp_path / "1.png"), str(tmp_path / "2.png")]
    assert len(list((tmp_path / "written").iterdir())) == 1
    closed(tmp_path, 3, spares)
    assert (tmp_path / "attempts" / "3-1").stat().st_ino in kept
    assert [Path(path).name for path, *_ in files_of(tmp_path / "attempts" / "3-1")] == ["3.png"]


def test_a_record_that_may_still_be_written_serves_no_other(tmp_path: Path):
    leftovers = Leftovers(tmp_path / "attempts", tmp_path / "written", Spares(tmp_path / "spare"))
    closed(tmp_path, 1)
    leftovers.settle(1)
    assert not (tmp_path / "spare").exists()
    assert list((tmp_path / "attempts").iterdir()) == []


def test_a_record_stays_while_what_it_says_cannot_be_handed_on(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "written").write_text("a file in the folder's place")
    closed(tmp_path, 1)
    Leftovers(tmp_path / "attempts", tmp_path / "written").forget({1}, closed=True)
    assert [path.name for path in (tmp_path / "attempts").iterdir()] == ["1-1"]


def test_what_was_half_written_goes_where_nothing_repeats_it(tmp_path: Path, leftovers: Leftovers, attempt: Attempt):
    write(tmp_path / "a.png", attempt)
    attempt.part(half := tmp_path / ".half.part.png")
    half.write_bytes(b"x")
    leftovers.settle(7)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["a.png"]


def test_what_a_doomed_job_wrote_goes_at_the_next_start(tmp_path: Path, leftovers: Leftovers, attempt: Attempt):
    write(tmp_path / "a.png", attempt)
    leftovers.doom(7)
    assert leftovers.take_stock({8}) == set()
    assert not (tmp_path / "a.png").exists()
    assert list((tmp_path / "attempts").iterdir()) == []
