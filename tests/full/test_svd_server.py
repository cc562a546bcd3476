"""The recorded full-size image-to-video workflow, posted to a real server (numeric README, "Full model")."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.full.test_sd15_server import GIGABYTE, LEVELS, RELATIVE, draw, worker_peak_bytes
from tests.maths.recordings import FOLDER, cases, error, tensors
from tests.serving import serving

pytestmark = pytest.mark.full

NAME = "svd_3frames"
WORKFLOW = cases("full_svd")[NAME]["workflow"]
SPARE = 3 * GIGABYTE  # beside the mapped file: the largest layers in float32, activations, the libraries


def test_the_workflow_gives_the_recorded_frames_in_little_memory(full_svd: Path, tmp_path: Path):
    folder = tmp_path / "models" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / full_svd.name).symlink_to(full_svd)
    shutil.copytree(FOLDER / "h_inputs", tmp_path / "input")
    with serving(tmp_path, "--lowvram") as url:
        latent, pixels = draw(url, WORKFLOW)
        peak = worker_peak_bytes(tmp_path)
    recorded = tensors("full_svd")
    found = error(latent, recorded[f"{NAME}/latent"])
    levels = int((pixels.int() - recorded[f"{NAME}/image"].int()).abs().max())
    print(f"latents {found:.2e} relative, pixels {levels} levels, peak {peak / GIGABYTE:.1f} GB")  # noqa: T201
    assert found < RELATIVE
    assert levels <= LEVELS
    assert peak < full_svd.stat().st_size + SPARE
