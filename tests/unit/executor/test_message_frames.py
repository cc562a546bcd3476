"""Frames read from a stream, and the Boot that a worker reads first."""

from dataclasses import fields
from pathlib import Path

import msgspec
import pytest

from executor.messages import (
    HEADER,
    MAX_FRAME,
    Boot,
    Interrupt,
    Splitter,
    decode_boot,
    decode_to_worker,
    encode_boot,
    frame,
)
from executor.settings import Settings


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_stream_is_cut_into_frames_however_it_arrives(size: int):
    told = [Interrupt("a"), Interrupt("b" * 300), Interrupt("c")]
    whole, splitter = b"".join(map(frame, told)), Splitter()
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert [decode_to_worker(body) for piece in pieces for body in splitter.feed(piece)] == told


def test_a_splitter_refuses_a_frame_too_long_to_be_true():
    with pytest.raises(ValueError, match="longer than"):
        Splitter().feed(HEADER.pack(MAX_FRAME + 1))


def test_a_boot_comes_back_with_every_setting():
    settings = Settings(
        base_directory=Path("/srv/weft"),
        tls_key=Path("key.pem"),
        model_paths=(Path("a.yaml"), Path("b.yaml")),
        allowed_packs=("x",),
        vram_mode="low",
        reserve_vram_gb=0.5,
    )
    boot = Boot(worker="worker-0", token="t", front_pid=7, settings=settings)
    assert decode_boot(encode_boot(boot)) == boot
    assert type(decode_boot(encode_boot(boot)).settings.base_directory) is type(Path())


def test_every_setting_can_travel():
    sent = msgspec.json.decode(encode_boot(Boot(worker="w", token="t", front_pid=1, settings=Settings())))
    assert set(sent["settings"]) == {field.name for field in fields(Settings)}
