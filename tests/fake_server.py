"""A whole server whose workers have the tests' own nodes: python -m tests.fake_server, with the server's flags.

WEFT_TEST_LOADER names other nodes.
"""

from __future__ import annotations

import os
import sys

from executor.engine.base import Engine
from executor.engine.process import ProcessEngine
from executor.settings import Settings
from server import main as front

LOADER = os.environ.get("WEFT_TEST_LOADER", "tests.process.fake_nodes:load")


def make_engine(settings: Settings) -> Engine:
    """Workers that load the tests' nodes."""
    return ProcessEngine(settings, loader=LOADER)


if __name__ == "__main__":
    front.make_engine = make_engine
    sys.exit(front.main())
