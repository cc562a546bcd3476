"""Where links may lead, which file is read, and what new files may be called."""

from __future__ import annotations

import os

import pytest

from executor.errors import UnsafePath
from executor.fence import Fence, require_encodable, require_fit
from executor.files import Folders
from executor.settings import Settings


@pytest.fixture
def place(tmp_path):
    """An input folder, and a file that lies outside of everything."""
    (tmp_path / "input").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    return tmp_path


@pytest.fixture
def fence(place):
    return Fence(lambda: [place / "input", place / "output"])


def linked(place, name, target):
    path = place / "input" / name
    path.symlink_to(target)
    return path


def test_links_within_the_folders_hold(place, fence):
    (place / "output").mkdir()
    (place / "output" / "made.png").touch()
    assert fence.holds(linked(place, "a", place / "output" / "made.png"))
    assert fence.holds(linked(place, "b", "../output"))
    assert fence.holds(place / "input" / "not" / "there")
    assert fence.require(place / "input" / "a") == place / "input" / "a"


@pytest.mark.parametrize("target", ["outside/secret", "outside", "outside/not-there", "input-more", ""])
def test_links_that_lead_outside_do_not(place, fence, target):
    link = linked(place, "a", place / target)
    assert not fence.holds(link)
    assert not fence.holds(link / "below")
    with pytest.raises(UnsafePath, match=r"'a' leads out .* by a symbolic link; --follow-symlinks lets it"):
        fence.require(link)


def test_links_to_links_are_followed_to_their_end(place, fence):
    linked(place, "a", place / "outside")
    assert not fence.holds(linked(place, "b", "a/secret"))


def test_a_root_may_be_a_link_itself(place, fence):
    (place / "output").symlink_to(place / "outside")
    assert fence.holds(place / "output" / "secret")


def test_all_links_hold_where_they_are_to_be_followed(place):
    link = linked(place, "a", place / "outside" / "secret")
    handle = Fence(list, follow=True).open(link)
    assert os.read(handle, 9) == b"secret"
    os.close(handle)


# ---------------------------------------------------------------- opening


def test_what_is_no_file_is_not_opened(place, fence):
    os.mkfifo(place / "input" / "pipe")
    for name in ("pipe", "missing", ""):
        with pytest.raises((FileNotFoundError, IsADirectoryError)):
            fence.open(place / "input" / name)


def test_a_link_that_changes_after_it_was_looked_at_opens_nothing(place, fence, monkeypatch):
    (place / "input" / "mine").write_text("mine")
    link = linked(place, "a", "mine")
    looked = os.path.realpath

    def look_then_change(path):
        found = looked(path)
        if path == link:
            link.unlink()
            link.symlink_to(place / "outside" / "secret")
        return found

    monkeypatch.setattr("executor.fence.os.path.realpath", look_then_change)
    with pytest.raises(UnsafePath):
        fence.open(link)


def test_no_descriptor_is_left_of_a_refused_file(place, fence):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UnsafePath):
        fence.open(linked(place, "a", place / "outside" / "secret"))
    with pytest.raises(FileNotFoundError):
        fence.open(place / "input")
    assert len(os.listdir("/proc/self/fd")) == before


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["a\0b", "\ud800.png"])
def test_names_that_no_file_can_have(name):
    with pytest.raises(UnsafePath):
        require_encodable(name)


@pytest.mark.parametrize(
    "name", ["a\nb", "a\x7f", "..\\a", "x\\..\\..\\a", "C:\\a", "\\\\host\\share\\a", "\\a", "a\\..\\b"]
)
def test_names_that_new_files_do_not_get(name):
    with pytest.raises(UnsafePath):
        require_fit(name)


@pytest.mark.parametrize("name", ["con", "a/NUL.txt", "lpt1 .png", "a.png.", "a ", "a:stream"])
def test_names_that_windows_takes_for_something_else(name):
    require_fit(name, windows=False)
    with pytest.raises(UnsafePath, match="on Windows"):
        require_fit(name, windows=True)


@pytest.mark.parametrize("name", ["a b/ü.png", "..a", "a..b", "\uff0e\uff0e\uff0fa", "a\\b", "icon.png", "%2e%2e%2fa"])
def test_names_that_harm_nobody(name):
    require_encodable(name)
    require_fit(name, windows=False)


def test_the_folders_of_packs_are_no_place_for_links(tmp_path):
    folders = Folders(Settings(base_directory=tmp_path))
    folders.create()
    assert folders.fence.holds(tmp_path / "models" / "loras" / "a")
    assert folders.fence.holds(tmp_path / "user" / "a")
    for place in ("custom_nodes/pack/key.txt", "a", ""):
        assert not folders.fence.holds(tmp_path / place)
