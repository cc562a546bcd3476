"""Keeps a server that anybody could reach from running prompts for anybody, and its keys from being shown."""

from __future__ import annotations

import logging
import secrets
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from executor.errors import KeysUnusable
from executor.settings import Settings

log = logging.getLogger("weft.front")

TOKEN_BYTES = 24
SECRET_FLAGS = frozenset({"--auth-token", "--webhook-secret"})


def require_keys(settings: Settings, argv: Sequence[str], *, may_be_open: bool = False) -> None:
    """Refuse (KeysUnusable) to listen beyond this machine without keys, or only warn where that `may_be_open`."""
    if settings.no_auth or settings.auth_token is not None or settings.auth_keys is not None:
        return
    open_to = settings.open_hosts()
    if not open_to:
        return
    where = " and ".join(open_to)
    if may_be_open:
        log.warning(
            "EVERYBODY who reaches %s can run prompts, read every picture and load files here: no keys are asked for. "
            "Set WEFT_AUTH_TOKEN, or say --no-auth to confirm",
            where,
        )
        return
    command = shlex.join([*program(), *argv])
    raise KeysUnusable(
        f"it would listen on {where}, and everybody who reaches that could run prompts and read every picture.\n"
        f"With a key (a new one, keep it):\n\n    WEFT_AUTH_TOKEN={secrets.token_urlsafe(TOKEN_BYTES)} {command}\n\n"
        f"Without keys, on a network that you trust:\n\n    {command} --no-auth\n"
    )


def program() -> list[str]:
    """How this program was called: by its command, or as a module of its interpreter."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return [sys.executable, "-m", "server"]
    return [sys.argv[0] if called.name == "weft" else "weft"]


def without_secrets(argv: Sequence[str]) -> list[str]:
    """A command line as it may be shown: tokens are replaced."""
    shown: list[str] = []
    for word in argv:
        flag, given, _ = word.partition("=")
        if shown and shown[-1] in SECRET_FLAGS:
            shown.append("(hidden)")
        else:
            shown.append(f"{flag}=(hidden)" if flag in SECRET_FLAGS and given else word)
    return shown
