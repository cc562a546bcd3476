"""A pack whose import ends the process is left out by the next process."""

from pathlib import Path

import pytest

from nodes.packs.discover import PRESTART, Pack
from nodes.packs.marks import Mark
from nodes.packs.prestart import run_prestart


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return Pack(name="deadly", path=tmp_path / "deadly")


def die_while_importing(folder: Path, pack: Pack) -> None:
    """Leave what a process leaves that ends inside the with block, where nothing is cleaned up."""
    with Mark(folder, "worker-0").around(pack):
        (mark,) = folder.glob("loading-*")
        left = mark.read_text()
    mark.write_text(left)


def test_pack_that_ended_the_process_is_refused(tmp_path: Path, pack: Pack):
    die_while_importing(tmp_path, pack)
    with pytest.raises(RuntimeError, match="ended while this pack"), Mark(tmp_path, "worker-0").around(pack):
        pass


def test_it_stays_refused(tmp_path: Path, pack: Pack):
    die_while_importing(tmp_path, pack)
    Mark(tmp_path, "worker-0")
    with pytest.raises(RuntimeError), Mark(tmp_path, "worker-0").around(pack):
        pass


def test_pack_that_ended_the_process_before_torch_is_not_started_again(tmp_path: Path, pack: Pack):
    pack.path.mkdir()
    (pack.path / PRESTART).write_text("raise MemoryError")
    die_while_importing(tmp_path, pack)
    failed = run_prestart([pack], Mark(tmp_path, "worker-0").around)
    assert "ended while this pack" in failed[pack.key]


def test_pack_that_only_raises_is_tried_again(tmp_path: Path, pack: Pack):
    with pytest.raises(ValueError, match="no"), Mark(tmp_path, "worker-0").around(pack):
        raise ValueError("no")
    with Mark(tmp_path, "worker-0").around(pack) as entered:
        assert entered is None


def test_other_workers_try_for_themselves(tmp_path: Path, pack: Pack):
    die_while_importing(tmp_path, pack)
    with Mark(tmp_path, "worker-1").around(pack) as entered:
        assert entered is None


def test_without_a_folder_nothing_is_marked(pack: Pack):
    with Mark(None, "worker-0").around(pack) as entered:
        assert entered is None
