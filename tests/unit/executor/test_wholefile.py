"""Whole files only."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from executor.wholefile import whole, write_whole


def fail(code: int):
    def write(file):
        file.write(b"half")
        raise OSError(code, "no room")

    return write


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EFBIG, errno.EDQUOT])
def test_a_write_that_fails_leaves_what_was_there_and_names_the_file(tmp_path: Path, code: int):
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="no room") as caught:
        write_whole(path, fail(code))
    assert (caught.value.errno, caught.value.filename) == (code, str(path))
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("a.png", b"before")]


@pytest.mark.parametrize("lasting", [False, True])
def test_a_written_file_has_its_name_and_nothing_else_is_there(tmp_path: Path, lasting: bool):
    write_whole(tmp_path / "a.png", lambda file: file.write(b"all"), lasting=lasting)
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("a.png", b"all")]


def test_another_error_comes_through_as_it_is(tmp_path: Path):
    with pytest.raises(ValueError, match="mine"), whole(tmp_path / "a.png"):
        raise ValueError("mine")
    assert list(tmp_path.iterdir()) == []


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path):
    with pytest.raises(FileNotFoundError) as caught, whole(tmp_path / "a.png"):
        (tmp_path / "source").read_bytes()
    assert caught.value.filename == str(tmp_path / "source")
