"""The full-size random checkpoint, made once into the folder WEFT_FULL_DIR (default .cache/full)."""

import os
from pathlib import Path

import pytest

from tests.full.random_checkpoint import SHA256, write_random_checkpoint

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def full_folder() -> Path:
    """A folder with the random files of every layout, `LAYOUT_random.safetensors`."""
    folder = Path(os.environ.get("WEFT_FULL_DIR", ROOT / ".cache" / "full"))
    folder.mkdir(parents=True, exist_ok=True)
    for layout, expected in SHA256.items():
        path = folder / f"{layout}_random.safetensors"
        if not path.exists():
            part = path.with_suffix(".part")
            assert write_random_checkpoint(layout, part) == expected
            part.replace(path)
    return folder
