"""Numbers of files that are a worker's until its job ends, whoever else looks into the folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.claims import CLAIMS_FILE, Claims
from executor.files import MANY, Folders
from executor.own_folders import OwnFolders
from executor.settings import Settings


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Folders]]:
    """The folders as two workers of one server have them."""
    found = [Folders(Settings(base_directory=tmp_path)) for _ in range(2)]
    for number, folders in enumerate(found):
        folders.create()
        folders.claims = Claims(tmp_path / CLAIMS_FILE, f"worker-{number}")
    yield found
    for folders in found:
        folders.claims.close()


def number(folders: Folders, prefix: str = "same", **options: object) -> int:
    return folders.next_name(prefix, folders.root("output"), **options).counter


def test_another_worker_counts_on_from_what_is_taken(workers: list[Folders]):
    first, second = workers
    assert [number(first, count=3), number(second, count=2), number(first, count=1)] == [1, 4, 6]


def test_a_worker_finds_the_same_number_until_its_file_is_there(workers: list[Folders]):
    first, _ = workers
    assert [number(first, count=1), number(first, count=1)] == [1, 1]
    (first.root("output") / "same_00001_.png").touch()
    assert number(first, count=1) == 2


def test_who_does_not_say_how_many_gets_many(workers: list[Folders]):
    first, second = workers
    assert [number(first), number(second, count=1)] == [1, 1 + MANY]


def test_other_prefixes_and_folders_are_free(workers: list[Folders]):
    first, second = workers
    number(first, count=3)
    assert [number(second, "other", count=1), number(second, "below/same", count=1)] == [1, 1]


def test_the_end_of_a_job_frees_what_it_did_not_use(workers: list[Folders]):
    first, second = workers
    number(first)
    (first.root("output") / "same_00001_.png").touch()
    first.claims.release()
    assert number(second, count=1) == 2


def test_a_new_process_of_a_worker_frees_what_the_dead_one_took(workers: list[Folders], tmp_path: Path):
    first, second = workers
    number(first)
    Claims(tmp_path / CLAIMS_FILE, "worker-0").close()
    assert number(second, count=1) == 1


def test_owners_have_numbers_of_their_own_and_claim_them_too(workers: list[Folders]):
    anna = [OwnFolders(folders, "anna") for folders in workers]
    number(workers[0], count=3)
    assert [number(anna[0], count=1), number(anna[1], count=1)] == [1, 2]


def test_a_folder_that_cannot_be_listed_lets_others_go_on(tmp_path: Path):
    first, second = (Claims(tmp_path / CLAIMS_FILE, name) for name in "ab")

    def fails() -> int:
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        first.take("place", fails, 1)
    assert second.take("place", lambda: 7, 1) == 7
    first.close()
    second.close()


def test_nobody_else_takes_while_a_folder_is_listed(tmp_path: Path):
    first = Claims(tmp_path / CLAIMS_FILE, "a")
    impatient = sqlite3.connect(tmp_path / CLAIMS_FILE, timeout=0.0, isolation_level=None)

    def listed() -> int:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            impatient.execute("BEGIN IMMEDIATE")
        return 1

    assert first.take("place", listed, 1) == 1
    first.close()
    impatient.close()
