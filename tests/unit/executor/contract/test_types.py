"""Type names that link, and lists that remember their files (reference/execution.md section 2, design 5.3)."""

import pytest

from executor.contract.definition import FileChoices
from executor.contract.types import FileList, matching_name, may_link


class Any(str):
    """The any type of many packs."""

    def __ne__(self, other):
        return False


class Several(str):
    """A type that takes some others, as VideoHelperSuite has it."""

    def __ne__(self, other):
        return other not in ("IMAGE", "LATENT", "*")


@pytest.mark.parametrize(
    ("received", "declared", "fits"),
    [
        ("IMAGE", "IMAGE", True),
        ("IMAGE", "MASK", False),
        ("INT,FLOAT", "FLOAT", True),
        ("INT", "FLOAT, INT", True),
        ("INT,BOOLEAN", "FLOAT,STRING", False),
        ("*", "MODEL", True),
        ("MODEL", "*", True),
        ("MODEL", "IMAGE,*", True),
        ("COMFY_MATCHTYPE_V3", "IMAGE", True),
        ("image", "IMAGE", False),
    ],
)
def test_which_types_link(received, declared, fits):
    assert may_link(received, declared) is fits


def test_a_type_that_differs_from_nothing_matches_all():
    assert matching_name(Any("whatever")) == "*"


def test_a_type_that_takes_some_others_is_their_union():
    assert matching_name(Several("IMAGE")) == "IMAGE,LATENT"


def test_an_ordinary_name_stays():
    assert matching_name("IMAGE") == "IMAGE"


def test_a_subclass_without_an_opinion_is_plain_text():
    assert type(matching_name(type("Name", (str,), {})("X"))) is str


@pytest.fixture
def files():
    return FileList(FileChoices(source="loras"), ["b"])


def test_fixed_choices_around_a_file_list_are_remembered(files):
    around = ["None"] + files + ["last"]  # noqa: RUF005  # packs write it so
    assert around == ["None", "b", "last"]
    assert around.choices == FileChoices(source="loras", before=("None",), after=("last",))


def test_a_file_list_keeps_its_files_when_copied_or_lengthened(files):
    copied = files[:]
    copied.append("x")
    copied += ["y"]
    copied.insert(0, "0")
    assert copied == ["0", "b", "x", "y"]
    assert copied.choices == FileChoices(source="loras", before=("0",), after=("x", "y"))
    assert files.choices == FileChoices(source="loras")


@pytest.mark.parametrize(
    "change",
    [
        lambda names: names.remove("b"),
        lambda names: names.pop(),
        lambda names: names.clear(),
        lambda names: names.reverse(),
        lambda names: names.insert(1, "x"),
        lambda names: names.__setitem__(0, "x"),
        lambda names: names.__delitem__(0),
    ],
)
def test_any_other_change_makes_it_an_ordinary_list(files, change):
    change(files)
    assert files.choices is None


def test_an_ordinary_list_stays_one(files):
    files.clear()
    assert (["a"] + files).choices is None  # noqa: RUF005  # packs write it so


def test_union_that_accepts_its_members_is_named_as_written():
    class Union(str):
        def __ne__(self, other):
            return other not in self.split(",") and not str.__eq__(self, other)

        __hash__ = str.__hash__

    assert matching_name(Union("FLOAT,INT")) == "FLOAT,INT"
