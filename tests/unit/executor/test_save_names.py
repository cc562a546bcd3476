"""Names of saved files follow the recording (reference/numeric, files: save_path)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from executor.errors import UnsafePath
from executor.files import Folders
from executor.settings import Settings

CASES = json.loads((Path(__file__).parents[2] / "data" / "numeric" / "files.json").read_text())["save_path"]


def named(case):
    return f"{case['prefix'] or 'empty'}-{'+'.join(case['existing'])}"


@pytest.fixture
def folders(tmp_path):
    folders = Folders(Settings(base_directory=tmp_path))
    folders.create()
    return folders


@pytest.mark.parametrize("case", [case for case in CASES if "error" not in case], ids=named)
def test_recorded_name(folders, case):
    root = folders.root("output")
    for name in case["existing"]:
        (root / name).touch()
    found = folders.next_name(case["prefix"], root, case["width"], case["height"])
    got = (str(found.folder.relative_to(root)), found.stem, found.counter, found.subfolder, found.prefix)
    assert got == tuple(case[key] for key in ("folder", "filename", "counter", "subfolder", "prefix_after"))


@pytest.mark.parametrize("case", [case for case in CASES if "error" in case], ids=named)
def test_recorded_refusal(folders, case):
    with pytest.raises(UnsafePath):
        folders.next_name(case["prefix"], folders.root("output"))


def test_batch_numbers_do_not_hide_files_that_exist(folders):
    (folders.root("output") / "b2_00003_.png").touch()
    assert folders.next_name("b%batch_num%", folders.root("output")).counter == 4
