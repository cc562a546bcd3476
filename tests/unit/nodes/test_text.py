"""Text and primitive nodes and the text preview."""

from __future__ import annotations

import pytest

from nodes.builtin.preview import as_text
from nodes.builtin.primitive import PrimitiveBoolean, PrimitiveFloat, PrimitiveInt, PrimitiveStringMultiline
from nodes.builtin.text import (
    CaseConverter,
    RegexExtract,
    RegexMatch,
    RegexReplace,
    StringCompare,
    StringConcatenate,
    StringContains,
    StringLength,
    StringReplace,
    StringSubstring,
    StringTrim,
)

FOUND = "cat 12, dog 345"


def extract(mode, group_index=1, pattern=r"(\w+) (\d+)"):
    return RegexExtract().execute(FOUND, pattern, mode, False, False, False, group_index)[0]


def test_concatenate_puts_the_delimiter_between():
    assert StringConcatenate().execute("a", "b", ", ") == ("a, b",)


def test_substring_counts_from_the_end_too():
    assert StringSubstring().execute("abcdef", 1, -1) == ("bcde",)


def test_length_counts_characters():
    assert StringLength().execute("né猫") == (3,)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("UPPERCASE", "AB CD"), ("lowercase", "ab cd"), ("Capitalize", "Ab cd"), ("Title Case", "Ab Cd")],
)
def test_case_converter(mode, expected):
    assert CaseConverter().execute("aB cD", mode) == (expected,)


@pytest.mark.parametrize(("mode", "expected"), [("Both", "x"), ("Left", "x "), ("Right", " x")])
def test_trim(mode, expected):
    assert StringTrim().execute(" x ", mode) == (expected,)


def test_replace_takes_every_find():
    assert StringReplace().execute("a-b-c", "-", "+") == ("a+b+c",)


@pytest.mark.parametrize(("case_sensitive", "expected"), [(True, False), (False, True)])
def test_contains(case_sensitive, expected):
    assert StringContains().execute("Hello", "hello", case_sensitive) == (expected,)


@pytest.mark.parametrize(("mode", "expected"), [("Starts With", True), ("Ends With", False), ("Equal", False)])
def test_compare(mode, expected):
    assert StringCompare().execute("ABC", "ab", mode, False) == (expected,)


def test_regex_match_searches_anywhere():
    assert RegexMatch().execute(FOUND, r"\d{3}", True, False, False) == (True,)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("First Match", "cat 12"), ("All Matches", "cat 12\ndog 345"), ("First Group", "cat"), ("All Groups", "cat\ndog")],
)
def test_regex_extract(mode, expected):
    assert extract(mode) == expected


def test_regex_extract_of_a_group_that_is_not_there_is_empty():
    assert extract("First Group", group_index=3) == ""


def test_regex_replace_stops_at_the_count():
    assert RegexReplace().execute(FOUND, r"\d+", "#", count=1) == ("cat #, dog 345",)


def test_broken_pattern_names_the_input():
    with pytest.raises(ValueError, match=r"'regex_pattern': '\(' is no regular expression"):
        RegexMatch().execute("x", "(", True, False, False)


def test_primitive_gives_its_value():
    assert PrimitiveInt().value(2**70) == (2**70,)
    assert PrimitiveFloat().value(0.1 + 0.2) == (0.30000000000000004,)
    assert PrimitiveStringMultiline().value(" a\nb\t\u00e9 ") == (" a\nb\t\u00e9 ",)
    assert [PrimitiveBoolean().value(each)[0] for each in (True, False)] == [True, False]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a\nb", "a\nb"), (None, "None"), (True, "True"), (0.5, "0.5"), ([1], "[\n    1\n]"), ({1, 2}, "{1, 2}")],
)
def test_any_value_is_shown_as_text(value, expected):
    assert as_text(value) == expected
