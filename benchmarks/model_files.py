"""The model files that are measured with: SD1.5 at full size with random weights, and the demo's own."""

from __future__ import annotations

import os
from pathlib import Path

from tests.full.random_checkpoint import write_random_checkpoint
from tests.serving import ROOT

DEMO = ROOT / "models" / "checkpoints" / "weft-demo.safetensors"


def full_size() -> Path:
    """SD1.5's layout at full size, 2.1 GB of half precision, made once where `make test-full` keeps its files."""
    folder = Path(os.environ.get("WEFT_FULL_DIR", ROOT / ".cache" / "full"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sd15_random.safetensors"
    if not path.exists():
        part = path.with_suffix(".part")
        write_random_checkpoint("sd15", part)
        part.replace(path)
    return path
