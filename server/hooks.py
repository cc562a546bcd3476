"""Webhooks as people ask for them, sign them and read them: the Standard Webhooks scheme. Knows no network.

Source: https://github.com/standard-webhooks/standard-webhooks, whose libraries verify what is signed here.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from executor.errors import BadInput, UnknownName
from executor.queue.job import END_EVENTS, HistoryEntry, Hook, Job
from server.results import ended_view, removed_view

PREFIX = "whsec_"
LEAST_SECRET = 16
"""Characters that a secret has at least."""
MOST_TRIES = 15
FIRST_PAUSE_S = 2.0
GROWTH = 3.0
LONGEST_PAUSE_S = 4 * 3600.0
"""Pauses of 2 s, 6 s, 18 s ... 4 h: the 15th and last try comes a day after the first."""
LONGEST_WISH_S = 24 * 3600.0
"""The longest time that a receiver may ask to be left alone for (Retry-After)."""
_FIELDS = ("url", "secret", "events")


def read_hook(told: object, where: str, check: Callable[[str], None]) -> Hook | None:
    """The webhook that somebody asks for: an address, or an object of url, secret and events; None for null.

    `check` refuses addresses that are not called. BadInput names `where` it was asked for, and what is wrong.
    """
    if told is None:
        return None
    asked: Mapping[str, object] = {"url": told} if isinstance(told, str) else told if isinstance(told, dict) else {}
    strange = next((name for name in asked if name not in _FIELDS), None)
    if strange is not None:
        raise BadInput(f"{where}: {UnknownName('field', strange, _FIELDS)}")
    url, secret = asked.get("url"), asked.get("secret")
    if not isinstance(url, str):
        raise BadInput(f"{where} must be an address, or an object with url and perhaps secret and events")
    try:
        check(url)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error
    if secret is not None:
        key_of(secret, where)
    return Hook(
        url=url,
        events=_events(asked.get("events"), where),
        own_secret=secret is not None,
        secret=str(secret) if secret is not None else None,
    )


def _events(told: object, where: str) -> frozenset[str]:
    if told is None:
        return frozenset(END_EVENTS)
    if not isinstance(told, list) or not told:
        raise BadInput(f"{where}: events must be a list of {', '.join(END_EVENTS)}")
    for name in told:
        if name not in END_EVENTS:
            raise BadInput(f"{where}: {UnknownName('event', str(name), END_EVENTS)}")
    return frozenset(told)


def key_of(secret: object, where: str) -> bytes:
    """The bytes that sign: what follows `whsec_` is base64 of them, any other secret is its own text.

    BadInput for a secret that is none.
    """
    if not isinstance(secret, str) or len(secret) < LEAST_SECRET:
        raise BadInput(f"{where}: a secret is a text of at least {LEAST_SECRET} characters")
    if not secret.startswith(PREFIX):
        return secret.encode(errors="surrogatepass")
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"{where}: what follows {PREFIX} in a secret must be base64") from error


def headers_of(delivery_id: str, body: bytes, at_s: int, secret: str | None) -> dict[str, str]:
    """The headers of one try at a time (Unix time): id, time and, with a secret, the signature of both and the body."""
    headers = {
        "Content-Type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(at_s),
    }
    if secret is not None:
        signed = f"{delivery_id}.{at_s}.".encode() + body
        digest = hmac.digest(key_of(secret, "the webhook's secret"), signed, "sha256")
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def composer(base: str) -> Callable[[Job, HistoryEntry | None, int], bytes]:
    """What makes the body that tells an end; `base` is the address that the files' addresses begin with."""

    def compose(job: Job, entry: HistoryEntry | None, ended_ms: int) -> bytes:
        data = removed_view(job, ended_ms) if entry is None else ended_view(entry, base)
        when = datetime.fromtimestamp(ended_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return json.dumps({"type": f"job.{data['state']}", "timestamp": when, "data": data}).encode()

    return compose


def pause_s(tries: int, wish: str | None, now_s: float) -> float:
    """Seconds until the next try after so many: growing, spread by a fifth, and not before the receiver wishes.

    `wish` is its Retry-After: seconds, or an HTTP date (RFC 9110 section 10.2.3).
    """
    pause = min(FIRST_PAUSE_S * GROWTH ** (tries - 1), LONGEST_PAUSE_S) * random.uniform(0.8, 1.2)
    return max(pause, min(_wished_s(wish, now_s), LONGEST_WISH_S))


def _wished_s(wish: str | None, now_s: float) -> float:
    if wish is None:
        return 0.0
    if wish.strip().isdecimal() and len(wish) < 10:
        return float(wish)
    try:
        return parsedate_to_datetime(wish).timestamp() - now_s
    except (ValueError, OverflowError):
        return 0.0
