"""JSON text with holes for lists of files."""

from __future__ import annotations

import json

import pytest

from executor.contract.choices import to_marker
from executor.contract.definition import FileChoices
from server.listing import joined, member, split, together

ENTRIES = {"b": {"x": [1, "é"]}, "c": {}, 'd "q"': {"max": 18446744073709551615, "y": [[1.5, None]]}}
WHOLE = json.dumps(ENTRIES).encode()
LORAS = FileChoices(source="loras")


def test_members_join_to_the_whole_text():
    text = joined(member(name, entry) for name, entry in split(WHOLE).items())
    assert (b"".join(text.parts), text.holes) == (WHOLE, [])


def test_lists_of_files_are_holes_of_the_whole():
    entries = {"a": {"l": to_marker(LORAS)}, "b": {}, "c": {"l": [to_marker(LORAS), 1]}}
    text = joined(member(name, entry) for name, entry in split(json.dumps(entries).encode()).items())
    assert text.holes == [LORAS, LORAS]
    assert b"[]".join(text.parts) == json.dumps({"a": {"l": []}, "b": {}, "c": {"l": [[], 1]}}).encode()


@pytest.mark.parametrize("whole", [WHOLE, b"{}", b'{"a": {"max": Infinity, "min": NaN}, "b": 1}'])
def test_what_is_split_goes_together_again(whole):
    assert together(split(whole)) == whole


def test_broken_text_is_refused():
    with pytest.raises(ValueError, match="Expecting property name"):
        split(b"{")
