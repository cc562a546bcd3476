"""Folders of one owner: names are as if there were nobody else, and none leads to another's."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import UnsafePath
from executor.fence import require_fit
from executor.files import Folders, inside
from executor.own_folders import OwnFolders, folder_name
from executor.settings import Settings


@pytest.fixture
def whole(tmp_path: Path) -> Folders:
    folders = Folders(Settings(base_directory=tmp_path))
    folders.create()
    return folders


def own(whole: Folders, owner: str = "anna") -> OwnFolders:
    folders = OwnFolders(whole, folder_name(owner))
    folders.create()
    return folders


def test_no_link_leads_to_anothers_folder_though_links_may_lead_anywhere(tmp_path: Path):
    whole = Folders(Settings(base_directory=tmp_path / "base", follow_symlinks=True))
    whole.create()
    anna, bert = own(whole), own(whole, "bert")
    targets = {
        "bert's": bert.root("output") / "b.png",
        "operators'": whole.root("input") / "o.png",
        "user's": whole.user / "keys.toml",
        "own": anna.root("output") / "a.png",
        "far": tmp_path / "far.png",
    }
    for name, target in targets.items():
        target.write_text(name)
        (anna.root("input") / name).symlink_to(target)
    for name in targets:
        link = anna.root("input") / name
        if name in ("own", "far"):
            os.close(anna.fence.open(link))
            continue
        for ask in (anna.fence.require, anna.fence.open):
            with pytest.raises(UnsafePath, match="leads into others' folders"):
                ask(link)
    assert whole.fence.holds(anna.root("input") / "bert's"), "an operator's may"


@given(st.text(min_size=1))
def test_a_folders_name_is_one_plain_name(owner: str):
    name = folder_name(owner)
    require_fit(name, windows=True)
    assert inside(Path("/x"), name).parent == Path("/x")
    assert len(name) <= 53


@given(st.text(min_size=1), st.text(min_size=1))
def test_owners_do_not_share_a_folder(one: str, other: str):
    assert (folder_name(one).lower() == folder_name(other).lower()) is (one == other)


def test_a_saved_file_has_the_name_that_the_first_of_all_would_have(whole: Folders):
    (whole.root("output") / "weft_00007_.png").touch()
    folders = own(whole)
    place = folders.next_name("weft", folders.root("output"))
    assert (place.counter, place.subfolder) == (1, "")


def test_files_are_listed_and_found_in_the_owners_folder_alone(whole: Folders):
    anna, bert = own(whole), own(whole, "bert")
    (whole.root("input") / "all.png").touch()
    (anna.root("input") / "a.png").touch()
    (bert.root("input") / "b.png").touch()
    assert [folders.files("input") for folders in (whole, anna, bert)] == [["all.png"], ["a.png"], ["b.png"]]
    assert anna.resolve("a.png").is_file()
    assert not bert.resolve("a.png").exists()


@pytest.mark.parametrize("name", ["../all.png", f"../{folder_name('bert')}/b.png", "../../all.png [output]"])
def test_no_name_leads_out_of_the_owners_folder(whole: Folders, name: str):
    with pytest.raises(UnsafePath):
        own(whole).resolve(name)


def test_a_link_to_another_owners_file_is_not_followed(whole: Folders):
    anna, bert = own(whole), own(whole, "bert")
    (bert.root("input") / "b.png").touch()
    (anna.root("input") / "link.png").symlink_to(bert.root("input") / "b.png")
    assert anna.files("input") == []
    with pytest.raises(UnsafePath):
        anna.resolve("link.png")


def test_models_are_everybodys_but_those_that_nodes_saved(whole: Folders):
    saved = whole.root("output") / "checkpoints"
    for folder, name in ((whole.models / "checkpoints", "all.pt"), (saved, "saved.pt")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    anna = own(whole)
    assert (whole.names("checkpoints"), anna.names("checkpoints")) == (["all.pt", "saved.pt"], ["all.pt"])
    assert anna.find("checkpoints", "saved.pt") is None


def test_kinds_that_packs_add_are_there_for_owners(whole: Folders, tmp_path: Path):
    anna = own(whole)
    whole.add("sams", tmp_path / "sams")
    anna.add("more", tmp_path / "more")
    assert anna.paths("sams") == [tmp_path / "sams"]
    assert whole.paths("more") == [tmp_path / "more"]
    table: dict[str, object] = {"only": ([str(tmp_path)], {".x"})}
    anna.adopt(table)
    assert whole.kinds() == anna.kinds() == ["only"]
    assert anna.changed_kinds() == whole.changed_kinds()


def test_kinds_that_another_process_told_are_learned_for_all(whole: Folders, tmp_path: Path):
    own(whole).learn([("told", (str(tmp_path),), ())])
    assert whole.paths("told") == [tmp_path]
