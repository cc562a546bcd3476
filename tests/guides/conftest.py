"""Servers with the demo's checkpoint under the names that the guides use, and the guides' own code."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.serving import ROOT, serving
from tests.tiny_video import SIZES, write_tiny_video

DATA = ROOT / "tests" / "data" / "guides"
CHECKPOINT = ROOT / "models" / "checkpoints" / "weft-demo.safetensors"
GUIDES_CHECKPOINTS = ("v1-5-pruned-emaonly.safetensors", "sdxl-动漫二次元_2.0.safetensors")
GUIDES_VIDEO_CHECKPOINT = "svd_xt_1_1.safetensors"
# few enough sums that the guide's own size, frames and steps take seconds
VIDEO_SIZES = replace(SIZES, widths=(4, 4, 4, 8), attends=(False, False, False, True), vae_widths=(2, 2, 4, 4))
GUIDES_ADDRESS = "http://127.0.0.1:8188"


def furnished(base: Path) -> Path:
    """A server's folder with the guides' checkpoints."""
    folder = base / "models" / "checkpoints"
    folder.mkdir(parents=True)
    for name in GUIDES_CHECKPOINTS:
        shutil.copyfile(CHECKPOINT, folder / name)
    write_tiny_video(folder / GUIDES_VIDEO_CHECKPOINT, VIDEO_SIZES)
    return base


@pytest.fixture(scope="package")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server as it is by default."""
    with serving(furnished(tmp_path_factory.mktemp("default"))) as address:
        yield address


@pytest.fixture(scope="package")
def id_first_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose queue items are guide 2's."""
    with serving(furnished(tmp_path_factory.mktemp("id_first")), "--queue-items", "id-first") as address:
        yield address


@pytest.fixture
def code() -> Callable[[str, str], str]:
    """Guide 2's code by name, with the server's address in the place of the guide's; nothing else is changed."""
    text = (DATA / "guide_2_code.txt").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^===== (\w+)\n(.*?)(?=^===== |\Z)", text, re.MULTILINE | re.DOTALL))

    def take(name: str, address: str) -> str:
        return blocks[name].replace(GUIDES_ADDRESS, address)

    return take
