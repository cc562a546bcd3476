"""Parentheses of prompts beyond the recorded cases (tests/parity compares those)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import NodeInputError
from executor.inference.text.prompt_weights import Segment, segments


@given(st.text(alphabet="ab ,:.12()\\", max_size=60))
def test_no_prompt_raises(prompt):
    segments(prompt)


@given(st.text(alphabet="ab ,:.12", min_size=1, max_size=30))
def test_text_without_parentheses_is_one_segment(prompt):
    assert segments(prompt) == [Segment(prompt, 1.0)]


@given(st.text(alphabet="ab ()", max_size=30))
def test_escaped_parentheses_are_text(prompt):
    escaped = prompt.replace("(", r"\(").replace(")", r"\)")
    assert "".join(segment.text for segment in segments(escaped)) == prompt


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_every_pair_multiplies_by_eleven_tenths(depth):
    assert segments("(" * depth + "x" + ")" * depth)[0].weight == pytest.approx(1.1**depth)


def test_a_deep_nest_of_parentheses_is_no_problem():
    assert segments("(" * 150 + "x" + ")" * 150)[0].text == "x"


def test_parentheses_without_end_are_refused_in_words():
    with pytest.raises(NodeInputError, match="nested too deeply"):
        segments("(" * 5000 + "a" + ")" * 5000)
