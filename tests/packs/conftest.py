"""One real server with every pack of tests/packs/fixtures, for all tests of this folder."""

from __future__ import annotations

import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.packs.client import Client
from tests.serving import serving

FIXTURES = Path(__file__).parent / "fixtures"
TEXT = (Path(__file__).parents[2] / "docs" / "custom_nodes.md").read_text(encoding="utf-8")
DOCUMENTED = TEXT.partition("```python\n")[2].partition("```")[0]
"""The pack that the text shows."""
START_S = 300.0


def until_ready(address: str) -> None:
    """Wait until a server can run prompts."""
    until_s = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(f"{address}/ready", timeout=START_S):
                return
        except urllib.error.HTTPError as error:
            error.close()
            assert time.monotonic() < until_s, "the server is not ready in time"
            time.sleep(0.1)


@contextmanager
def serving_packs(base: Path, *flags: str) -> Iterator[str]:
    """The address of a server with the packs in base/custom_nodes that is ready."""
    with serving(base, *flags) as address:
        until_ready(address)
        yield address


@pytest.fixture(scope="session")
def packs_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's folder with every fixture pack in it, and the documented one."""
    base = tmp_path_factory.mktemp("packs")
    shutil.copytree(FIXTURES, base / "custom_nodes", ignore=shutil.ignore_patterns("__pycache__"))
    (place,) = re.findall(r"`(custom_nodes/\w+/__init__\.py)`", TEXT)
    (base / place).parent.mkdir()
    (base / place).write_text(DOCUMENTED)
    return base


@pytest.fixture(scope="session")
def packs_server(packs_base: Path) -> Iterator[str]:
    """The address of the shared server."""
    with serving_packs(packs_base, "--cpu") as address:
        yield address


@pytest.fixture
async def client(packs_server: str) -> AsyncIterator[Client]:
    """A client of the shared server."""
    async with Client(packs_server) as client:
        yield client
