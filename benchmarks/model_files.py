"""The model files that are measured with: SD1.5 at full size with random weights, and the demo's own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.full.random_checkpoint import write_random_checkpoint
from tests.serving import ROOT

DEMO = ROOT / "models" / "checkpoints" / "weft-demo.safetensors"
KEPT = ROOT / ".cache" / "full"
CHOSEN = "WEFT_FULL_DIR"


@contextmanager
def large_files() -> Iterator[None]:
    """A place for full-size files: the chosen folder, or the one where `make test-full` keeps its own, if it is there.

    Else one for the block alone, on the same disk, since a folder for temporary files may lie in memory.
    """
    if CHOSEN in os.environ or KEPT.is_dir():
        yield
        return
    KEPT.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT.parent, prefix="bench-") as folder:
        os.environ[CHOSEN] = folder
        try:
            yield
        finally:
            del os.environ[CHOSEN]


def full_size() -> Path:
    """SD1.5's layout at full size, 2.1 GB of half precision, made once for all who ask: see `large_files`."""
    folder = Path(os.environ.get(CHOSEN) or KEPT)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sd15_random.safetensors"
    if not path.exists():
        part = path.with_suffix(".part")
        write_random_checkpoint("sd15", part)
        part.replace(path)
    return path
