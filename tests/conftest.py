"""What every test shares: how hypothesis searches, where chance starts. Fixtures lie beside the tests that use them."""

import gc
import os
import sys
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

# As the engine does for its workers: torch's threads do not spin while they wait, so that busy cores slow no test down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # each has a core: threads that share it would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# As a user's: servers that tests start find the code compiled, which is a third of the work of a start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

hypothesis.settings.register_profile("local", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

gc.disable()  # until everything is collected: nearly all that comes now stays


def pytest_collection_finish() -> None:
    """Leave eleven thousand tests, and the modules they are in, out of each search for garbage from here on."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def drawn_alike() -> None:
    """Let torch draw the same numbers in every run of a test; a test that needs no torch does not load it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Mend text that is no Unicode, such as what a test of it logged: reports cross processes as UTF-8."""
    return mended((yield))


def mended(value: Any) -> Any:
    """A report's data with surrogates spelled out."""
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case dict():
            return {mended(key): mended(each) for key, each in value.items()}
        case list() | tuple():
            return type(value)(map(mended, value))
    return value
