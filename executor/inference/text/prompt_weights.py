"""Splits a prompt into segments with weights, by its parentheses. Knows nothing of tokens.

`(text)` weighs 1.1 times its surroundings, `(text:1.3)` weighs 1.3 wherever it stands, `\\(` and `\\)` are plain
parentheses (recorded behaviour: numeric/prompt_weights.json).
"""

from collections.abc import Iterator
from typing import NamedTuple

from executor.errors import NodeInputError

EMPHASIS = 1.1
# stand-ins for escaped parentheses while the prompt is split; no text has these characters
ESCAPES = (("\\(", "\x00\x02"), ("\\)", "\x00\x01"))


class Segment(NamedTuple):
    """A piece of a prompt and how much it counts."""

    text: str
    weight: float


def segments(prompt: str) -> list[Segment]:
    """The weighted pieces of a prompt in their order, with escapes resolved.

    Raises NodeInputError for parentheses within hundreds of others.
    """
    try:
        return [Segment(unescape(text), weight) for text, weight in weigh(escape(prompt), 1.0)]
    except RecursionError:
        told = "the parentheses of this prompt are nested too deeply; write weights as (text:1.3)"
        raise NodeInputError(told) from None


def weigh(text: str, weight: float) -> Iterator[Segment]:
    """Segments of a text that stands at a weight."""
    for piece in split_groups(text):
        if piece.startswith("(") and piece.endswith(")") and len(piece) > 1:
            inner, own = split_weight(piece[1:-1], weight * EMPHASIS)
            yield from weigh(inner, own)
        else:
            yield Segment(piece, weight)


def split_groups(text: str) -> Iterator[str]:
    """Outermost `(...)` groups and what stands between them; unbalanced text stays in one piece."""
    depth, begin = 0, 0
    for place, character in enumerate(text):
        if character == "(":
            if depth == 0 and begin < place:
                yield text[begin:place]
                begin = place
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                yield text[begin : place + 1]
                begin = place + 1
    if begin < len(text):
        yield text[begin:]


def split_weight(inner: str, default: float) -> tuple[str, float]:
    """The text of a group without its `:number`, and that number; the default where there is none."""
    colon = inner.rfind(":")
    if colon <= 0:
        return inner, default
    try:
        return inner[:colon], float(inner[colon + 1 :])
    except ValueError:
        return inner, default


def escape(prompt: str) -> str:
    """The prompt with its escaped parentheses out of the way."""
    for written, stand_in in ESCAPES:
        prompt = prompt.replace(written, stand_in)
    return prompt


def unescape(text: str) -> str:
    """The text with plain parentheses where they were escaped."""
    for written, stand_in in ESCAPES:
        text = text.replace(stand_in, written[1:])
    return text
