"""Pictures become videos row by row as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from executor.errors import NodeInputError
from executor.inference.video_encoding import VideoEncoding, encode_video


def test_no_row_of_a_ten_bit_picture_is_left_undone(tmp_path):
    picture = np.full((24, 24, 4), 255, np.uint8)
    picture[:, :12, 3] = 0
    lossless = VideoEncoding(container="matroska", codec="ffv1", pix_fmt="yuva444p10le", bt709=False)
    encode_video(tmp_path / "v.mkv", (picture for _ in range(1500)), Fraction(8), lossless)
    with av.open(str(tmp_path / "v.mkv")) as container:
        planes = [np.frombuffer(frame.planes[3], np.uint16).reshape(24, -1)[:, :24] for frame in container.decode()]
    assert len(planes) == 1500
    assert sum(not np.array_equal(plane, planes[0]) for plane in planes) == 0


NARROW = """
import sys
from fractions import Fraction
import numpy as np
from executor.inference.video_encoding import VideoEncoding, encode_video
how = VideoEncoding(container="mp4", codec="libx265", pix_fmt="yuv420p", options={"x265-params": "log-level=error"})
noise = np.random.default_rng(1).integers(0, 255, (3, 32, 48, 3), dtype=np.uint8)
for _ in range(20):  # what is overwritten is not missed each time
    encode_video(sys.argv[1], noise, Fraction(8), how)
"""


def test_narrow_pictures_do_not_end_the_process_in_x265(tmp_path):
    child = [sys.executable, "-c", NARROW, str(tmp_path / "v.mp4")]
    assert subprocess.run(child, env={**os.environ, "PYTHONPATH": str(Path.cwd())}, check=False).returncode == 0
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [(48, 32)] * 3


@pytest.mark.parametrize("codec", ["h264_nvenc", "hevc_nvenc", "av1_nvenc"])
def test_an_encoder_of_a_gpu_that_is_not_there_says_what_it_needs(tmp_path, monkeypatch, codec):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    how = VideoEncoding(container="mp4", codec=codec, pix_fmt="yuv420p")
    with pytest.raises(NodeInputError, match=f"encoding with {codec}, which needs an NVIDIA GPU and its driver,"):
        encode_video(tmp_path / "v.mp4", [np.zeros((64, 64, 3), np.uint8)], Fraction(8), how)
