"""What bytes are, by how they begin."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from server.sniffing import ACCEPTED, sniff


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "webp", "bmp", "tiff", "avif"])
def test_pictures_that_pillow_writes_are_known(name):
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, format=name)
    found = sniff(buffer.getvalue())
    assert found is not None
    assert (found.kind, found.ending) == ("image", {"jpeg": "jpg"}.get(name, name))


@pytest.mark.parametrize(
    ("head", "ending"),
    [
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm", "webm"),
        (b"\x1a\x45\xdf\xa3\xa3B\x86\x81\x01B\x82\x88matroska", "mkv"),
        (b"\0\0\0\x14ftypqt  ", "mov"),
        (b"\0\0\0\x20ftypisom", "mp4"),
        (b"\0\0\0\x20ftypM4A ", "m4a"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "wav"),
        (b"RIFF\x24\0\0\0AVI LIST", "avi"),
        (b"ID3\x04", "mp3"),
        (b"\xff\xfb\x90", "mp3"),
        (b"OggS" + bytes(24) + b"OpusHead", "opus"),
        (b"OggS" + bytes(24) + b"\x01vorbis", "ogg"),
    ],
)
def test_sound_and_videos_are_known(head, ending):
    assert sniff(head + bytes(40)).ending == ending


@pytest.mark.parametrize("body", [b"", b"<!doctype html>", b"<svg>", b"%PDF-1.7", b"MZ", b"PK\x03\x04", b"RIFF"])
def test_other_things_are_nothing(body):
    assert sniff(body) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_something_or_nothing(body):
    found = sniff(body)
    assert found is None or found.ending in ACCEPTED["file"]
