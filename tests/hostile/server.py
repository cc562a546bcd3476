"""A whole server that tells how long its event loop was held: python -m tests.hostile.server, with its flags."""

from __future__ import annotations

import sys

from server import main as front
from tests.fake_server import make_engine
from tests.hostile.heart import with_heart

if __name__ == "__main__":
    own_app = front.make_app
    front.make_engine = make_engine
    front.make_app = lambda parts: with_heart(own_app(parts))
    sys.exit(front.main())
