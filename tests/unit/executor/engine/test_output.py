"""What a process writes, as lines."""

from __future__ import annotations

import asyncio

import pytest

from executor.engine import output
from executor.engine.output import lines_of


async def told(*chunks: bytes) -> list[str]:
    pipe = asyncio.StreamReader()
    for chunk in chunks:
        pipe.feed_data(chunk)
    pipe.feed_eof()
    return [line async for line in lines_of(pipe)]


async def test_lines_end_at_line_feeds_and_returns_and_empty_ones_are_left_out():
    assert await told(b"one\r\ntwo\r\n\n  \nth", b"ree\nlast") == ["one", "two", "three", "last"]


async def test_bytes_that_are_no_text_are_mended():
    assert await told(b"\xff\n") == ["\ufffd"]


async def test_a_line_without_end_is_told_in_pieces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(output, "CHUNK", 4)
    assert await told(b"x" * 10) == ["xxxxxxxx", "xx"]
