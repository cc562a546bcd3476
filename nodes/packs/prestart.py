"""Runs the packs' `prestartup_script.py`, before torch and anything else is imported. Knows nothing of nodes."""

from __future__ import annotations

import importlib.util
import logging
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from nodes.packs.discover import PRESTART, Pack

log = logging.getLogger("weft.packs")


def run_prestart(packs: Iterable[Pack], around: Callable[[Pack], AbstractContextManager[None]]) -> dict[str, str]:
    """Run every allowed pack's script; pack's key -> traceback of those that failed, which are logged.

    `around` is what each runs in, and may refuse one.
    """
    failed: dict[str, str] = {}
    for pack in packs:
        script = pack.path / PRESTART
        if not pack.allowed or not script.is_file():
            continue
        began_s = time.monotonic()
        try:
            with around(pack):
                _run(pack)
        except (Exception, SystemExit):  # border: the code of a pack may raise anything
            failed[pack.key] = traceback.format_exc()
            log.exception("pack %s: %s failed; the pack is loaded without it", pack.name, PRESTART)
        else:
            log.info("pack %s: %s took %.1f s", pack.name, PRESTART, time.monotonic() - began_s)
    return failed


def _run(pack: Pack) -> None:
    script = pack.path / PRESTART
    spec = importlib.util.spec_from_file_location(f"{pack.key}_prestartup", script)
    if spec is None or spec.loader is None:
        raise ImportError(f"{script} cannot be read as Python")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
