"""What the tests of this folder need: a CUDA device."""

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The first CUDA device."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda", 0)
