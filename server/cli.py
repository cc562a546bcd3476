"""Reads the command line of the server into Settings. Knows no server."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from executor.settings import Settings, parse_settings


def read_settings(argv: Sequence[str]) -> tuple[Settings, list[str]]:
    """Settings from a command line, and the flags that were accepted without effect.

    Raises SystemExit for an unknown flag, a bad value, or after `--help`.
    """
    settings, ignored = parse_settings(argv)
    if logging.getLevelName(settings.log_level.upper()) == f"Level {settings.log_level.upper()}":
        raise SystemExit(f"weft: --verbose: {settings.log_level!r} is no log level")
    if (settings.tls_key is None) != (settings.tls_cert is None):
        raise SystemExit("weft: --tls-keyfile and --tls-certfile need each other")
    return settings, ignored
