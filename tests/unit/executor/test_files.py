"""Folders: listings that stay fresh, safe names, counters."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import UnsafePath
from executor.files import Folders, fill_size, inside, split_root
from executor.settings import Settings


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(Settings(base_directory=tmp_path))
    made.create()
    return made


def put(path: Path, age_s: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    if age_s:
        os.utime(path.parent, (path.stat().st_mtime - age_s,) * 2)
    return path


def test_names_are_relative_sorted_and_filtered_by_ending(folders: Folders) -> None:
    put(folders.models / "checkpoints" / "b.safetensors")
    put(folders.models / "checkpoints" / "sub" / "a.ckpt")
    put(folders.models / "checkpoints" / "notes.txt")
    assert folders.names("checkpoints") == ["b.safetensors", "sub/a.ckpt"]


def test_a_new_file_shows_without_a_restart(folders: Folders) -> None:
    put(folders.models / "loras" / "one.safetensors", age_s=10)
    assert folders.names("loras") == ["one.safetensors"]
    put(folders.models / "loras" / "two.safetensors")
    assert folders.names("loras") == ["one.safetensors", "two.safetensors"]


def test_a_new_file_in_a_subfolder_shows(folders: Folders) -> None:
    put(folders.models / "loras" / "sub" / "one.safetensors", age_s=10)
    assert folders.names("loras") == ["sub/one.safetensors"]
    put(folders.models / "loras" / "sub" / "two.safetensors")
    assert folders.names("loras") == ["sub/one.safetensors", "sub/two.safetensors"]


def test_models_below_output_are_found(folders: Folders) -> None:
    path = put(folders.root("output") / "checkpoints" / "merged.safetensors")
    assert folders.find("checkpoints", "merged.safetensors") == path


def test_an_added_folder_is_searched(folders: Folders, tmp_path: Path) -> None:
    path = put(tmp_path / "elsewhere" / "x.safetensors")
    folders.add("vae", tmp_path / "elsewhere")
    assert folders.find("vae", "x.safetensors") == path


def test_find_never_leaves_the_kind(folders: Folders) -> None:
    put(folders.models / "secret.safetensors")
    assert folders.find("checkpoints", "../secret.safetensors") is None


def test_unknown_kind_is_a_key_error(folders: Folders) -> None:
    with pytest.raises(KeyError):
        folders.names("nonsense")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", ("a.png", None)),
        ("a.png [output]", ("a.png", "output")),
        ("sub/a b.png [temp]", ("sub/a b.png", "temp")),
        ("a [x].png", ("a [x].png", None)),
    ],
)
def test_split_root(name: str, expected: tuple[str, str | None]) -> None:
    assert split_root(name) == expected


def test_resolve_obeys_the_suffix(folders: Folders) -> None:
    assert folders.resolve("a.png [output]") == folders.root("output") / "a.png"


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "", "/", "~", "c.png"]), max_size=8).map("/".join))
def test_inside_stays_inside_or_refuses(name: str) -> None:
    folder = Path("/data/input")
    try:
        path = inside(folder, name)
    except UnsafePath:
        return
    assert path == folder or folder in path.parents


def test_zero_characters_are_refused() -> None:
    with pytest.raises(UnsafePath):
        inside(Path("/data"), "a\0b")


def test_next_name_counts_on_from_the_highest(folders: Folders) -> None:
    root = folders.root("output")
    put(root / "cat_00007_.png")
    put(root / "catalog_00009_.png")
    assert folders.next_name("cat", root).counter == 8


def test_next_name_makes_subfolders(folders: Folders) -> None:
    saved = folders.next_name("day/cat", folders.root("output"))
    assert (saved.folder.is_dir(), saved.subfolder, saved.stem, saved.counter) == (True, "day", "cat", 1)


@pytest.mark.parametrize("prefix", ["../x", "a/../../x", "/etc/x"])
def test_a_prefix_that_leaves_the_folder_is_refused(folders: Folders, prefix: str) -> None:
    with pytest.raises(UnsafePath):
        folders.next_name(prefix, folders.root("output"))


def test_fill_size_replaces_tokens() -> None:
    assert fill_size("a_%width%x%height%", 64, 32) == "a_64x32"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("C:\\Users\\me\\Pictures\\a.png", "a.png"),
        ("C:\\Users\\me\\Pictures\\a.png [input]", "a.png"),
        ("sub\\b.png", "sub/b.png"),
        ("..\\..\\a.png", "a.png"),
        ("file://C:\\x\\a.png", "a.png"),
        ("x\\gone.png", "x\\gone.png"),
        ("..\\gone.png", "..\\gone.png"),
    ],
)
def test_a_windows_path_means_the_file_of_its_own_name(folders: Folders, given: str, meant: str) -> None:
    root = folders.root("input")
    (root / "sub").mkdir(parents=True)
    (root / "a.png").touch()
    (root / "sub" / "b.png").touch()
    assert folders.resolve(given) == root / meant


@pytest.mark.skipif(os.sep == "\\", reason="Windows has no such file names")
def test_a_file_named_with_a_backslash_is_found(folders: Folders) -> None:
    root = folders.root("input")
    (root / "a.png").touch()
    (root / "x\\a.png").touch()
    assert folders.resolve("x\\a.png") == root / "x\\a.png"


# ---------------------------------------------------------------- looking for changes


def settle(*paths: Path) -> None:
    """Date a folder's last change long ago."""
    for path in paths:
        os.utime(path, ns=(1, 1))


@pytest.fixture
def loras(folders: Folders) -> Path:
    path = folders.models / "loras"
    path.mkdir(parents=True)
    (path / "a.safetensors").touch()
    settle(path)
    return path


def test_names_are_fresh_once_they_were_read(folders: Folders, loras: Path) -> None:
    assert folders.fresh_names("loras") is None
    assert folders.names("loras") == folders.fresh_names("loras") == ["a.safetensors"]


def test_names_are_not_fresh_after_a_change(folders: Folders, loras: Path) -> None:
    folders.names("loras")
    (loras / "b.safetensors").touch()
    assert folders.fresh_names("loras") is None
    assert folders.names("loras") == ["a.safetensors", "b.safetensors"]


def test_names_of_a_folder_that_changed_just_now_are_read_again(folders: Folders, loras: Path) -> None:
    (loras / "b.safetensors").touch()
    folders.names("loras")
    assert folders.fresh_names("loras") is None


def test_watch_sees_changes_of_models_and_inputs(folders: Folders, loras: Path) -> None:
    settle(folders.root("input"))
    watch = folders.watch(["loras", "input", "unknown"])
    assert watch.is_fresh()
    (folders.root("input") / "a.png").touch()
    assert not watch.is_fresh()


def test_watch_looks_at_nothing_that_is_not_there(folders: Folders) -> None:
    folders.models.mkdir(parents=True, exist_ok=True)
    os.utime(folders.models, (1e9, 1e9))
    watch = folders.watch(["loras", "vae", "checkpoints"])
    assert {path for path, _ in watch.stamps if path.startswith(str(folders.models))} == {str(folders.models)}


def test_watch_does_not_look_at_a_busy_folder_for_one_that_may_come_below_it(folders: Folders) -> None:
    folders.root("output").mkdir(parents=True, exist_ok=True)
    watch = folders.watch(["checkpoints"])
    put(folders.root("output") / "picture.png")
    assert watch.is_fresh()


@pytest.mark.parametrize("kind", ["loras", "checkpoints"])
def test_watch_sees_a_folder_come_to_be(folders: Folders, kind: str) -> None:
    above = folders.root("output").parent
    for folder in (above, folders.models, folders.root("output")):
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder, (1e9, 1e9))
    watch = folders.watch([kind])
    assert watch.is_fresh()
    (folders.models / kind).mkdir()
    assert not watch.is_fresh()


def test_watch_sees_what_a_link_leads_to_come_to_be(folders: Folders, tmp_path: Path) -> None:
    folders.models.mkdir(parents=True, exist_ok=True)
    (folders.models / "loras").symlink_to(tmp_path / "disk" / "loras")
    for folder in (tmp_path, folders.models, folders.root("output").parent):
        os.utime(folder, (1e9, 1e9))
    watch = folders.watch(["loras"])
    (tmp_path / "disk" / "loras").mkdir(parents=True)
    os.utime(tmp_path, (1e9, 1e9))
    assert not watch.is_fresh()


def test_fresh_names_of_an_unknown_kind(folders: Folders) -> None:
    with pytest.raises(KeyError):
        folders.fresh_names("unknown")


# ---------------------------------------------------------------- kinds that others change


@pytest.mark.parametrize("entry", [(["{0}"], {".pth"}), [["{0}"], [".pth"]], ("{0}", (".pth",))])
def test_a_table_of_others_is_read_in_every_form(folders: Folders, entry: object) -> None:
    place = folders.models / "own"
    put(place / "a.pth")
    put(place / "a.txt")
    paths = str(place) if isinstance(entry[0], str) else [str(place)]
    folders.adopt({"own": type(entry)([paths, entry[1]])})
    assert folders.kinds() == ["own"]
    assert folders.names("own") == ["a.pth"]


def test_a_kind_without_endings_lists_every_file(folders: Folders) -> None:
    put(folders.models / "own" / "a.txt")
    folders.adopt({"own": ([str(folders.models / "own")],)})
    assert folders.names("own") == ["a.txt"]


def test_only_changed_kinds_are_told_and_learnt(folders: Folders, tmp_path: Path) -> None:
    table = {kind: (list(map(str, folders.paths(kind))), folders.suffixes(kind)) for kind in folders.kinds()}
    folders.adopt(table)
    assert folders.changed_kinds() == ()
    folders.add("own", tmp_path / "own")
    table["broken"] = (None, None)
    assert folders.changed_kinds() == (("own", (str(tmp_path / "own"),), ()),)
    other = Folders(Settings(base_directory=tmp_path))
    other.learn(folders.changed_kinds())
    put(tmp_path / "own" / "x.bin")
    assert other.names("own") == ["x.bin"]


def test_another_folder_for_a_root(folders: Folders, tmp_path: Path) -> None:
    folders.set_root("output", tmp_path / "elsewhere")
    assert folders.resolve("a.png [output]") == tmp_path / "elsewhere" / "a.png"


def test_next_name_counts_on_from_files_that_are_being_written(folders: Folders) -> None:
    root = folders.root("output")
    coming = [root / "cat_00007_.png", root / "sub" / "cat_00009_.png"]
    folders.promise(coming)
    assert folders.next_name("cat", root).counter == 8
    folders.keep(coming)
    assert folders.next_name("cat", root).counter == 1


def test_a_promised_file_that_is_finished_as_one_looks_is_counted(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, listed = tmp_path / "output" / "pic_00001_.png", os.listdir
    folders.promise([path])

    def listing(folder: Path) -> list[str]:
        names = listed(folder)
        put(path)
        folders.keep([path])
        return names

    monkeypatch.setattr(os, "listdir", listing)
    assert folders.next_name("pic", tmp_path / "output").counter == 2
