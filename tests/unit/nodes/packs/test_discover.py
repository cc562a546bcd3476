"""What counts as a pack, and which are switched on."""

from pathlib import Path

import pytest

from executor.files import Folders
from executor.settings import Settings
from nodes.packs.discover import Pack, discover


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    folder = tmp_path / "custom_nodes"
    for name in ("Zeta", "alpha", "__pycache__", "old.disabled", ".git"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()
    (folder / "early").mkdir()
    (folder / "early" / "prestartup_script.py").touch()
    (folder / "pictures").mkdir()
    for name in ("one_file.py", "asleep.py.disabled", "notes.txt", ".hidden.py"):
        (folder / name).touch()
    return folder


def found(base: Path, **settings: object) -> list[Pack]:
    made = Settings(base_directory=base, **settings)
    return discover(Folders(made), made)


def test_folders_and_files_are_found_in_order(packs: Path):
    assert [pack.name for pack in found(packs.parent)] == ["Zeta", "alpha", "early", "one_file"]


def test_no_folder_holds_no_packs(tmp_path: Path):
    assert found(tmp_path) == []


def test_extra_paths_are_searched_after_the_base(packs: Path, tmp_path: Path):
    more = tmp_path / "more"
    more.mkdir()
    (more / "added.py").touch()
    paths = tmp_path / "paths.yaml"
    paths.write_text(f"shared:\n  custom_nodes: {more}\n")
    assert found(packs.parent, model_paths=(paths,))[-1].path == more / "added.py"


def test_all_may_be_switched_off(packs: Path):
    assert not any(pack.allowed for pack in found(packs.parent, disable_custom_nodes=True))


@pytest.mark.parametrize("name", ["one_file", "one_file.py"])
def test_listed_packs_are_loaded_all_the_same(packs: Path, name: str):
    rows = found(packs.parent, disable_custom_nodes=True, allowed_packs=(name, "Zeta"))
    assert [pack.name for pack in rows if pack.allowed] == ["Zeta", "one_file"]


def test_list_alone_switches_nothing_off(packs: Path):
    assert all(pack.allowed for pack in found(packs.parent, allowed_packs=("Zeta",)))


def test_module_of_a_pack_is_its_path_without_dots(tmp_path: Path):
    folder = tmp_path / "v1.2"
    folder.mkdir()
    assert Pack(name="v1.2", path=folder).key == str(tmp_path).replace(".", "_x_") + "/v1_x_2"


def test_module_of_a_file_has_no_ending(tmp_path: Path):
    file = tmp_path / "one.py"
    file.touch()
    assert Pack(name="one", path=file).key == str(tmp_path).replace(".", "_x_") + "/one"


def test_nodes_are_listed_under_custom_nodes(tmp_path: Path):
    assert Pack(name="v1.2", path=tmp_path).module == "custom_nodes.v1.2"
