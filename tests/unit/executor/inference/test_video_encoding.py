"""Pictures become videos row by row as they are."""

from __future__ import annotations

from fractions import Fraction

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


@pytest.mark.parametrize("codec", ["h264_nvenc", "hevc_nvenc", "av1_nvenc"])
def test_an_encoder_of_a_gpu_that_is_not_there_says_what_it_needs(tmp_path, monkeypatch, codec):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    how = VideoEncoding(container="mp4", codec=codec, pix_fmt="yuv420p")
    with pytest.raises(NodeInputError, match=f"encoding with {codec}, which needs an NVIDIA GPU and its driver,"):
        encode_video(tmp_path / "v.mp4", [np.zeros((64, 64, 3), np.uint8)], Fraction(8), how)
