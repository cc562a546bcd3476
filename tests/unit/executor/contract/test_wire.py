"""The /object_info entry (reference/http_api.md section 5; forms of reference/object_info.json)."""

import json

import pytest

from executor.contract.choices import is_content, listed
from executor.contract.definition import FileChoices, FixedChoices
from executor.contract.types import FileList
from executor.contract.v1 import describe
from executor.contract.wire import render, template
from executor.files import Folders
from executor.settings import Settings


class Any(str):
    def __ne__(self, other):
        return False


class Loader:
    CATEGORY = "loaders"
    RETURN_TYPES = ("MODEL", Any("*"))
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        names = ["None"] + FileList(FileChoices(source="loras"))  # noqa: RUF005  # packs write it so
        return {
            "required": {
                "name": (names, {}),
                "strength": ("FLOAT", {"max": 1.0}),
            },
            "hidden": {"id": "UNIQUE_ID"},
        }

    def load(self, name, strength, id):
        return (None, None)


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "models" / "loras").mkdir(parents=True)
    (tmp_path / "input").mkdir()
    return Folders(Settings(base_directory=tmp_path))


def entry_of(cls, folders, **more):
    definition = describe(cls.__name__, cls, **more)
    return render(json.loads(json.dumps(template(definition, cls))), folders)


def test_an_entry_of_the_older_form(folders):
    assert entry_of(Loader, folders, display_name="Load It") == {
        "input": {
            "required": {"name": [["None"], {}], "strength": ["FLOAT", {"max": 1.0}]},
            "hidden": {"id": "UNIQUE_ID"},
        },
        "input_order": {"required": ["name", "strength"], "hidden": ["id"]},
        "output": ["MODEL", "*"],
        "output_is_list": [False, False],
        "output_name": ["MODEL", "*"],
        "name": "Loader",
        "display_name": "Load It",
        "description": "",
        "python_module": "nodes",
        "category": "loaders",
        "output_node": False,
    }


def test_files_are_listed_as_they_are_when_shown(folders):
    shelved = template(describe("Loader", Loader), Loader)
    (folders.paths("loras")[0] / "a.safetensors").touch()
    assert render(shelved, folders)["input"]["required"]["name"][0] == ["None", "a.safetensors"]


def test_rendering_leaves_the_template_alone(folders):
    shelved = template(describe("Loader", Loader), Loader)
    before = json.dumps(shelved)
    render(shelved, folders)
    assert json.dumps(shelved) == before


def test_the_newer_form_always_tells_four_more_keys(folders):
    entry = entry_of(type("Newer", (Loader,), {"LISTING": "v3"}), folders)
    assert {key: entry[key] for key in ("output_tooltips", "deprecated", "experimental", "api_node")} == {
        "output_tooltips": [None, None], "deprecated": False, "experimental": False, "api_node": False,
    }  # fmt: skip


def test_the_older_form_tells_what_is_set(folders):
    cls = type("Old", (Loader,), {"DEPRECATED": True, "OUTPUT_TOOLTIPS": ("a",), "RETURN_NAMES": ("m", "x")})
    entry = entry_of(cls, folders)
    assert (entry["deprecated"], entry["output_tooltips"], entry["output_name"]) == (True, ["a"], ["m", "x"])
    assert "experimental" not in entry


def test_choices_as_an_output_are_listed(folders):
    cls = type("Pick", (Loader,), {"RETURN_TYPES": (["a", "b"],), "OUTPUT_IS_LIST": (True,)})
    entry = entry_of(cls, folders)
    assert (entry["output"], entry["output_name"], entry["output_is_list"]) == ([["a", "b"]], [["a", "b"]], [True])


def test_integers_of_64_bits_stay_exact(folders):
    cls = type(
        "Big", (Loader,), {"INPUT_TYPES": classmethod(lambda cls: {"required": {"s": ("INT", {"max": 2**64 - 1})}})}
    )
    assert entry_of(cls, folders)["input"]["required"]["s"][1]["max"] == 2**64 - 1


@pytest.mark.parametrize(
    ("name", "content", "counts"),
    [
        ("a.png", "image", True),
        ("a.webp", "image", True),
        ("a.mp4", "image", False),
        ("a.mp4", "image,video", True),
        ("a.latent", ".latent", True),
        ("a.txt", "", True),
        ("noending", "image", False),
    ],
)
def test_files_of_a_kind_of_content(name, content, counts):
    assert is_content(name, content) is counts


def test_choices_of_the_input_folder(folders):
    for name in ("b.png", "a.png", "c.txt"):
        (folders.root("input") / name).touch()
    assert listed(FileChoices(source="input", content="image", after=("x",)), folders) == ["a.png", "b.png", "x"]


def test_an_unknown_kind_of_file_lists_the_fixed_choices(folders):
    assert listed(FileChoices(source="nothing", before=("None",)), folders) == ["None"]


def test_fixed_choices(folders):
    assert listed(FixedChoices(values=("a", 1)), folders) == ["a", 1]
