"""The table of nodes tells what is missing: a node, its entry, its test."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from executor.files import Folders
from executor.settings import Settings
from tests.inventory.table import REFERENCE, Row, called, called_in_tests, digest, lines, rows

ENTRIES = json.loads((REFERENCE.parent / "object_info.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """Every row by its node."""
    folders = Folders(Settings(base_directory=tmp_path_factory.mktemp("nodes")))
    return {row.name: row for row in rows(folders, called_in_tests())}


def test_every_node_of_the_reference_has_a_row(found: dict[str, Row]) -> None:
    assert list(found) == list(json.loads(REFERENCE.read_text(encoding="utf-8")))


def test_a_node_that_is_here_and_tested_is_whole(found: dict[str, Row]) -> None:
    assert found["KSampler"].whole


@pytest.mark.parametrize("name", sorted(ENTRIES)[:40])
def test_digests_are_of_the_recorded_entries(name: str) -> None:
    assert digest(ENTRIES[name]) == json.loads(REFERENCE.read_text(encoding="utf-8"))[name]["entry"]


def test_a_changed_entry_is_another_one() -> None:
    assert digest({**ENTRIES["KSampler"], "category": "elsewhere"}) != digest(ENTRIES["KSampler"])


def test_a_tooltip_is_ours() -> None:
    assert digest({**ENTRIES["KSampler"], "description": "in our words"}) == digest(ENTRIES["KSampler"])


@pytest.mark.parametrize(
    "source",
    [
        "Sharpen().sharpen(picture)",
        "call('Sharpen', image=picture)",
        "{'class_type': 'Sharpen'}",
        "image.Sharpen()",
        "@pytest.mark.parametrize('node', [(image.Sharpen, 1), Blur])\ndef test(node): ...",
    ],
)
def test_what_is_called_is_tested(source: str) -> None:
    assert "Sharpen" in called(ast.parse(source))


@pytest.mark.parametrize(
    "source", ["from image import Sharpen", "# Sharpen()", "check(Sharpen)", "'Sharpen is fine'", "Sharpened()"]
)
def test_what_is_only_named_is_not_tested(source: str) -> None:
    assert "Sharpen" not in called(ast.parse(source))


def test_modules_that_nobody_asked_for_do_not_count() -> None:
    row = Row(name="X", module="comfy_extras.nodes_wan", present=False, equal=False, tested=False)
    assert not row.counts
    assert list(lines([row]))[-2].split() == ["asked", "for", "0", "0", "0", "0"]


def test_a_node_that_has_to_be_here_is_missing_without_its_test() -> None:
    row = Row(name="X", module="comfy_extras.nodes_mahiro", present=True, equal=True, tested=False)
    assert (row.counts, row.missing) == (True, True)


def test_a_test_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "test_it.py").write_text("Sharpen().sharpen(1)\n")
    assert "Sharpen" in called_in_tests(tmp_path)
