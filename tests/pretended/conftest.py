"""A CUDA device that is none (tests/pretended_gpu.py), for the tests of tests/gpu."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.pretended_gpu import CUDA, PretendedGpu, pretended_gpu


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The pretended device."""
    return CUDA


@pytest.fixture(autouse=True)
def gpu() -> Iterator[PretendedGpu]:
    """Its books."""
    with pretended_gpu() as made:
        yield made


QUICK = (
    "failed_recording",
    "memory_back",
    "no_product_waits",
    "maps_stay",
    "without_room",
    "beside",
    "pretended_stream",
    "text_is_read",
    "of_flux",
    "of_wan",
    "of_qwen",
    "videos_are",
)
QUICK_SAMPLERS = ("recorded-euler]", "recorded-dpmpp_2m_sde]", "step_wait[recorded]", "caught[recorded]")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave all but the quick ones to the long run."""
    for item in items:
        is_here = Path(item.fspath).parent == Path(__file__).parent
        if is_here and not any(each in item.nodeid for each in (*QUICK, *QUICK_SAMPLERS)):
            item.add_marker(pytest.mark.full)
