"""extra_model_paths.yaml: its form, and that the folders it names are searched."""

from pathlib import Path

import pytest

from executor.errors import BadInput
from executor.files import Folders
from executor.model_paths import ExtraPath, read_extra_paths
from executor.settings import Settings


def written(folder: Path, text: str) -> Path:
    file = folder / "extra_model_paths.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_every_line_of_a_kind_is_a_folder(tmp_path: Path) -> None:
    file = written(tmp_path, "a111:\n  base_path: /srv/a111\n  loras: |\n    models/Lora\n    models/LyCORIS\n")
    assert read_extra_paths(file) == [
        ExtraPath("loras", Path("/srv/a111/models/Lora"), False),
        ExtraPath("loras", Path("/srv/a111/models/LyCORIS"), False),
    ]


def test_folders_are_relative_to_the_file_without_a_base_path(tmp_path: Path) -> None:
    [extra] = read_extra_paths(written(tmp_path, "here:\n  vae: more/vae\n"))
    assert extra.path == tmp_path / "more" / "vae"


def test_variables_and_home_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", "/srv/models")
    monkeypatch.setenv("HOME", "/home/me")
    paths = read_extra_paths(written(tmp_path, "x:\n  base_path: ~/weights\n  vae: $MODELS/vae\n  loras: lora\n"))
    assert [extra.path for extra in paths] == [Path("/srv/models/vae"), Path("/home/me/weights/lora")]


@pytest.mark.parametrize("text", ["a: [1", "- a\n- b\n", "a: text\n", "a:\n  loras: [x, y]\n"])
def test_another_form_is_refused_with_the_name_of_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput, match=r"extra_model_paths\.yaml"):
        read_extra_paths(written(tmp_path, text))


def test_the_file_in_the_base_directory_counts_without_a_flag(tmp_path: Path) -> None:
    written(tmp_path, "more:\n  checkpoints: elsewhere\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.safetensors").touch()
    assert Folders(Settings(base_directory=tmp_path)).names("checkpoints") == ["x.safetensors"]


def test_default_folders_are_searched_first(tmp_path: Path) -> None:
    file = written(tmp_path, "more:\n  is_default: true\n  checkpoints: elsewhere\n")
    folders = Folders(Settings(base_directory=tmp_path / "base", model_paths=(file,)))
    assert folders.paths("checkpoints")[0] == tmp_path / "elsewhere"


def test_old_names_of_kinds_are_known(tmp_path: Path) -> None:
    file = written(tmp_path, "more:\n  clip: encoders\n")
    folders = Folders(Settings(base_directory=tmp_path / "base", model_paths=(file,)))
    assert tmp_path / "encoders" in folders.paths("text_encoders")
