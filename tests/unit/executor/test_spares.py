"""Files that serve again: empty, each for one taker, no more of them than are wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor import spares as module
from executor.spares import Spares


def given(spares: Spares, folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("old")
        spares.give(folder / name)


def test_what_is_given_is_taken_empty_under_its_new_name(tmp_path: Path):
    given(Spares(tmp_path / "spare"), tmp_path, "1-1")
    assert Spares(tmp_path / "spare").take(str(tmp_path / "2-1"))
    assert (tmp_path / "2-1").read_text() == ""
    assert not (tmp_path / "1-1").exists()


def test_where_there_is_none_nothing_is_taken(tmp_path: Path):
    assert not Spares(tmp_path / "spare").take(str(tmp_path / "2-1"))
    assert not (tmp_path / "2-1").exists()


def test_each_is_taken_once_whoever_knows_of_it(tmp_path: Path):
    given(Spares(tmp_path / "spare"), tmp_path, "1-1", "2-1")
    first, second = Spares(tmp_path / "spare"), Spares(tmp_path / "spare")
    taken = [taker.take(str(tmp_path / f"{n}-9")) for n, taker in enumerate((first, second, first, second))]
    assert taken == [True, True, False, False]


def test_new_ones_are_looked_for_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    taker = Spares(tmp_path / "spare")
    assert not taker.take(str(tmp_path / "2-1"))
    given(Spares(tmp_path / "spare"), tmp_path, "1-1")
    assert not taker.take(str(tmp_path / "2-1")), "it has just looked"
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    taker = Spares(tmp_path / "spare")
    assert taker.take(str(tmp_path / "2-1"))


def test_no_more_are_kept_than_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST", 2)
    giver = Spares(tmp_path / "spare")
    given(giver, tmp_path, "1-1", "2-1", "3-1")
    assert len(list((tmp_path / "spare").iterdir())) == 2
    assert not (tmp_path / "3-1").exists()
    assert Spares(tmp_path / "spare").take(str(tmp_path / "9-1"))
    given(giver, tmp_path, "4-1")
    assert len(list((tmp_path / "spare").iterdir())) == 2, "what workers took makes room"
