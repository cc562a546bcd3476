"""A real server on an empty folder, one for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import serving


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's folder."""
    return tmp_path_factory.mktemp("base")


@pytest.fixture(scope="module")
def url(base: Path) -> Iterator[str]:
    """The address of the server."""
    with serving(base) as address:
        yield address
