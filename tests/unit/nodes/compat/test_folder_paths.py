"""folder_paths: what packs read, change and assign."""

from __future__ import annotations

import os

import pytest

from executor.context import RunContext, entered
from executor.contract.definition import FileChoices
from executor.errors import UnsafePath
from executor.files import Folders
from executor.own_folders import folder_name
from executor.worker.services import OwnServices, Services
from tests.unit.nodes.compat.conftest import Host


def put(host: Host, *parts: str) -> str:
    path = host.base.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return str(path)


def test_a_file_of_a_kind_is_found_and_listed(host: Host):
    folder_paths = host("folder_paths")
    path = put(host, "models", "loras", "sub", "a.safetensors")
    assert folder_paths.get_filename_list("loras") == ["sub/a.safetensors"]
    assert folder_paths.get_full_path("loras", "sub/a.safetensors") == path


def test_a_list_remembers_its_files_behind_a_choice_of_none(host: Host):
    listed = ["None"] + host("folder_paths").get_filename_list("loras")  # noqa: RUF005  (as packs write it)
    assert listed.choices == FileChoices(source="loras", before=("None",))


@pytest.mark.parametrize("name", ["gone.pt", "../../secret.pt", "sub"])
def test_what_is_no_file_of_the_kind_is_none(host: Host, name: str):
    put(host, "secret.pt")
    (host.base / "models" / "loras" / "sub").mkdir()
    folder_paths = host("folder_paths")
    assert folder_paths.get_full_path("loras", name) is None
    with pytest.raises(FileNotFoundError, match="loras"):
        folder_paths.get_full_path_or_raise("loras", name)


def test_a_path_out_of_a_kind_is_taken_as_one_within(host: Host):
    path = put(host, "models", "loras", "a.pt")
    assert host("folder_paths").get_full_path("loras", "../a.pt") == path


def test_unknown_kinds(host: Host):
    folder_paths = host("folder_paths")
    assert folder_paths.get_full_path("nonsense", "a") is None
    with pytest.raises(KeyError):
        folder_paths.get_filename_list("nonsense")


@pytest.mark.parametrize("form", [tuple, list])
def test_kinds_put_into_the_table_count(host: Host, form: type):
    folder_paths = host("folder_paths")
    put(host, "models", "sams", "a.pth")
    put(host, "models", "sams", "a.txt")
    folder_paths.folder_names_and_paths["sams"] = form([[str(host.base / "models" / "sams")], {".pth"}])
    assert folder_paths.get_filename_list("sams") == ["a.pth"]
    assert host.services.folders.names("sams") == ["a.pth"]


def test_endings_and_folders_added_in_place_count(host: Host):
    folder_paths = host("folder_paths")
    put(host, "elsewhere", "a.gguf")
    folder_paths.supported_pt_extensions.add(".gguf")
    folder_paths.folder_names_and_paths["loras"][0].append(str(host.base / "elsewhere"))
    assert folder_paths.get_filename_list("loras") == ["a.gguf"]


def test_the_front_learns_what_packs_changed(host: Host):
    folder_paths = host("folder_paths")
    put(host, "models", "sams", "a.pth")
    folder_paths.add_model_folder_path("sams", str(host.base / "models" / "sams"))
    front = Folders(host.services.settings)
    front.learn(host.services.folders.changed_kinds())
    assert front.names("sams") == ["a.pth"]
    assert [kind for kind, _, _ in host.services.folders.changed_kinds()] == ["sams"]


def test_a_default_folder_comes_first_and_once(host: Host):
    folder_paths = host("folder_paths")
    before = folder_paths.get_folder_paths("loras")
    for _ in range(2):
        folder_paths.add_model_folder_path("loras", "/x", is_default=True)
    folder_paths.add_model_folder_path("loras", "/x")
    assert folder_paths.get_folder_paths("loras") == ["/x", *before]


def test_old_kinds_mean_the_new_ones(host: Host):
    folder_paths = host("folder_paths")
    assert folder_paths.map_legacy("unet") == "diffusion_models"
    assert folder_paths.get_folder_paths("clip") == folder_paths.get_folder_paths("text_encoders")


def test_the_module_seems_to_lie_in_the_base_folder(host: Host):
    assert os.path.dirname(host("folder_paths").__file__) == str(host.base)


def test_an_assigned_directory_holds_for_the_worker(host: Host):
    folder_paths = host("folder_paths")
    folder_paths.output_directory = str(host.base / "other")
    assert folder_paths.get_output_directory() == str(host.base / "other")
    assert host.services.folders.root("output") == host.base / "other"
    folder_paths.set_input_directory(str(host.base / "in"))
    assert folder_paths.input_directory == str(host.services.folders.root("input"))


def test_annotated_names(host: Host):
    folder_paths = host("folder_paths")
    output = str(host.base / "output")
    assert folder_paths.annotated_filepath("a.png [output]") == ("a.png", output)
    assert folder_paths.annotated_filepath("a.png") == ("a.png", None)
    assert folder_paths.get_annotated_filepath("a.png", output) == os.path.join(output, "a.png")
    assert folder_paths.get_annotated_filepath("a.png") == str(host.base / "input" / "a.png")
    put(host, "temp", "b.png")
    assert folder_paths.exists_annotated_filepath("b.png [temp]")
    assert folder_paths.get_directory_by_type("elsewhere") is None


def test_the_place_of_the_next_saved_file(host: Host):
    folder_paths = host("folder_paths")
    put(host, "output", "sub", "x_00007_.png")
    place = folder_paths.get_save_image_path("sub/x", folder_paths.get_output_directory(), 4, 5)
    assert place == (str(host.base / "output" / "sub"), "x", 8, "sub", "sub/x")
    with pytest.raises(UnsafePath):
        folder_paths.get_save_image_path("../x", folder_paths.get_output_directory())


def test_searches_and_filters(host: Host):
    folder_paths = host("folder_paths")
    for name in ("a.png", "sub/b.MP4", "skip/c.wav", "sub/d.glb"):
        put(host, "input", *name.split("/"))
    files, folders = folder_paths.recursive_search(folder_paths.get_input_directory(), ["skip"])
    assert sorted(files) == ["a.png", "sub/b.MP4", "sub/d.glb"]
    assert len(folders) == 2
    assert folder_paths.filter_files_extensions(files, {".mp4"}) == ["sub/b.MP4"]
    assert folder_paths.filter_files_content_types(sorted(files), ["image", "video"]) == ["a.png", "sub/b.MP4"]
    assert folder_paths.filter_files_content_types(files, ["model"]) == ["sub/d.glb"]
    assert folder_paths.get_input_subfolders() == ["skip", "sub"]


@pytest.fixture
def own(host: Host) -> Services:
    """The services of a prompt of Anna's, on the same host."""
    return OwnServices.made(host.services, folder_name("anna"))


def test_folders_are_those_of_the_running_prompts_owner(host: Host, own: Services):
    folder_paths = host("folder_paths")
    names = ("output", "input", "temp")
    before = [getattr(folder_paths, f"get_{name}_directory")() for name in names]
    with entered(RunContext(services=own)):
        for name in names:
            folder = str(own.folders.root(name))
            assert getattr(folder_paths, f"{name}_directory") == folder
            assert getattr(folder_paths, f"get_{name}_directory")() == folder
            assert folder_paths.get_directory_by_type(name) == folder
        assert folder_paths.get_user_directory() == folder_paths.user_directory == str(own.folders.user)
        assert folder_paths.get_annotated_filepath("a.png [output]") == str(own.folders.root("output") / "a.png")
    assert [getattr(folder_paths, f"{name}_directory") for name in names] == before


def test_a_directory_that_a_pack_assigns_moves_owners_too(host: Host, own: Services, tmp_path):
    folder_paths = host("folder_paths")
    folder_paths.output_directory = str(tmp_path / "elsewhere")
    assert folder_paths.get_output_directory() == str(tmp_path / "elsewhere")
    later = OwnServices.made(host.services, folder_name("anna"))
    assert later.folders.root("output").parents[1] == tmp_path / "elsewhere"
