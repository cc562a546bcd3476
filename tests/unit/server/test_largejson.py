"""Large JSON texts are read as the interpreter reads them, up to a number of values."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import BadInput
from server import largejson

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


def same(left: object, right: object) -> bool:
    return json.dumps(left) == json.dumps(right)  # NaN equals itself so


@given(VALUES, st.sampled_from(["utf-8", "utf-16", "utf-32-be"]), st.booleans())
def test_the_slow_reader_reads_what_the_quick_one_does(value, encoding, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert same(largejson._Counting().decode(text), value)
    assert same(largejson.read(text.encode(encoding, "surrogatepass")), value)


@given(st.text(alphabet='[]{}",:1ntfe -\\u0ü', max_size=30))
def test_both_readers_refuse_the_same_texts(text):
    def told(read):
        try:
            return "read", json.dumps(read(text))
        except ValueError as error:
            return type(error).__name__, str(error)

    assert told(largejson._Counting().decode) == told(json.loads)


@pytest.mark.parametrize("text", ["[" + "1," * 250_001 + "1]", "[" + "{}," * 250_001 + "1]"])
def test_too_many_values_are_refused(text):
    with pytest.raises(BadInput, match="more than 250000 values"):
        largejson.read(text.encode())


def test_signs_within_texts_are_no_values():
    value = {"text": "[,{" * 300_000}
    found = largejson.read(json.dumps(value).encode())
    assert isinstance(found, largejson.Bulky)
    assert found == value


def test_as_many_values_as_may_be_are_read():
    value = [math.pi] * (largejson.MOST_VALUES - 1)
    assert largejson.read(json.dumps([value]).encode()) == [value]


def test_deep_texts_end_in_a_recursion_error():
    with pytest.raises(RecursionError):
        largejson.read(b"[" * 100_000)
