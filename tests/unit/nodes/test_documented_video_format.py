"""The format file that docs/video_formats.md shows: taken from the text, encoded with, and refused as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import av
import pytest

from executor.errors import NodeInputError
from nodes.builtin import video_format_files
from nodes.builtin.video_format_files import KIND
from tests.unit.nodes.media_files import bars, read, tone
from tests.unit.nodes.test_video_format_files import Place, combine, place, write

TEXT = (Path(__file__).parents[3] / "docs" / "video_formats.md").read_text(encoding="utf-8")
EXAMPLE = json.loads(TEXT.partition("```json\n")[2].partition("```")[0])
REFUSED = re.findall(r"^\| `(.+)` \| (.+) \|$", TEXT.partition("## What is refused")[2], re.MULTILINE)
KEYS = [key for row in re.findall(r"^\| (`\w+`.*?) \|", TEXT.partition("## Keys")[2].partition("## ")[0], re.MULTILINE)
        for key in re.findall(r"`(\w+)`", row)]  # fmt: skip

__all__ = ["place"]


@pytest.fixture
def editing(place: Place) -> str:
    """The example at its place; the name of the format."""
    (name,) = re.findall(rf"^`models/{KIND}/(\w+)\.json`", TEXT, re.MULTILINE)
    write(place, name, EXAMPLE)
    return f"video/{name}"


def test_it_encodes_pictures_sound_and_metadata(editing):
    files = combine(format=editing, audio=tone(), prompt={"1": 2})
    found = read(files[1])
    assert (found.codec, found.pix_fmt, len(found.frames)) == ("h264", "yuv422p10le", len(bars()))
    with av.open(files[2]) as film:
        assert film.streams.audio[0].codec_context.name == "flac"
        assert json.loads(film.metadata["PROMPT"]) == {"1": 2}


def test_the_values_of_the_text_are_taken(editing):
    (written,) = re.findall(r'`("crf": .+?)`', TEXT)
    values = json.loads(f"{{{written}}}")
    assert Path(combine(format=editing, **values)[1]).stat().st_size < Path(combine(format=editing)[1]).stat().st_size


@pytest.mark.parametrize(("line", "message"), REFUSED)
def test_refusals_read_as_told(place, editing, line, message):
    write(place, editing.removeprefix("video/"), {**EXAMPLE, **json.loads(f"{{{line}}}")})
    with pytest.raises(NodeInputError) as refused:
        combine(format=editing, audio=tone())
    assert str(refused.value) == message


def test_every_key_that_is_read_is_told():
    source = Path(video_format_files.__file__).read_text(encoding="utf-8")
    read_keys = set(re.findall(r'text(?:\.get\(|\[)"(\w+)"', source))
    assert {*read_keys, *video_format_files.VALUES, *video_format_files.NEVER} <= set(KEYS)
    assert len(REFUSED) == 8
