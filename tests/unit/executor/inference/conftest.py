"""One small checkpoint for all tests of the model runtime."""

from pathlib import Path

import pytest

from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.memory import Memory
from tests.tiny_checkpoint import write_tiny_checkpoint


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SD1.x checkpoint file with random weights."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors")


@pytest.fixture
def tiny(tiny_file: Path) -> Checkpoint:
    """The small checkpoint, opened on the CPU."""
    return load_checkpoint(tiny_file, Memory(mode="cpu"))
