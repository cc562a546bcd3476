"""The full-size random checkpoints, made once into the folder WEFT_FULL_DIR (default .cache/full)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.full.random_checkpoint import SDXL_SHA256, SHA256, SVD_SHA256, write_random_checkpoint

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def on_the_cpu() -> Iterator[None]:
    """Hide GPUs from the servers: `--cpu` excludes the flags that say how weights are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield


def made(layout: str, expected: str) -> Path:
    """The random file of a layout, `LAYOUT_random.safetensors`, written where it is not there yet."""
    folder = Path(os.environ.get("WEFT_FULL_DIR", ROOT / ".cache" / "full"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{layout}_random.safetensors"
    if not path.exists():
        part = path.with_suffix(".part")
        assert write_random_checkpoint(layout, part) == expected
        part.replace(path)
    return path


@pytest.fixture(scope="session")
def full_folder() -> Path:
    """A folder with the random files of every SD1.5 layout."""
    return [made(layout, expected) for layout, expected in SHA256.items()][-1].parent


@pytest.fixture(scope="session")
def full_svd() -> Path:
    """The random file of SVD-XT."""
    return made("svd_xt", SVD_SHA256)


@pytest.fixture(scope="session")
def full_sdxl() -> Path:
    """The random file of SDXL's base."""
    return made("sdxl", SDXL_SHA256)
