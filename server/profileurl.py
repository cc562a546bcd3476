"""Has a running server profile a prompt, for `weft profile --url`, and tells what it refuses."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from executor.errors import BadInput, NotReady
from executor.settings import Settings
from executor.wholefile import write_whole

UNAUTHORIZED = 401
PATIENCE_S = 7 * 24 * 3600.0
"""A prompt takes as long as it takes, and others may be before it."""


def profile_at(url: str, settings: Settings, prompt: Mapping[str, object], trace: Path, *, operators: bool) -> str:
    """Have the server at an address run a graph and write its trace; the answer is what failed in it, "" if nothing.

    The key is that of --auth-token. Raises BadInput for what the server refuses, NotReady where none answers.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise BadInput(f"--url names a server, such as http://127.0.0.1:8188, not {url!r}")
    address = f"{url.rstrip('/')}/weft/profile{'?torch=1' if operators else ''}"
    headers = {"Content-Type": "application/json"}
    if settings.auth_token is not None:
        headers["Authorization"] = f"Bearer {settings.auth_token}"
    request = Request(address, json.dumps({"prompt": prompt}).encode(), headers)
    try:
        with urlopen(request, timeout=PATIENCE_S, context=trusted(settings)) as answer:
            body = answer.read()
    except HTTPError as error:
        reason = key_needed(settings) if error.code == UNAUTHORIZED else refusal(error)
        raise BadInput(f"the server at {url} refuses: {error.code} {reason}") from error
    except (URLError, OSError) as error:
        raise NotReady(f"no server answers at {url} ({getattr(error, 'reason', error)})") from error
    told = told_in(body, url)
    write_whole(trace, lambda file: file.write(body))
    return "" if told["state"] == "succeeded" else str(told["error"]["message"])


def trusted(settings: Settings) -> ssl.SSLContext | None:
    """Whom to believe: a server with the certificate that --tls-certfile names, else the system's authorities."""
    return None if settings.tls_cert is None else ssl.create_default_context(cafile=str(settings.tls_cert))


def told_in(body: bytes, url: str) -> dict[str, Any]:
    """What a trace tells of its prompt; NotReady for an answer that is none."""
    try:
        told: dict[str, Any] = json.loads(body)["weft"]
    except (ValueError, KeyError, TypeError) as error:
        raise NotReady(f"what answers at {url} is no Weft") from error
    return told


def key_needed(settings: Settings) -> str:
    """Why a server lets nobody in, and what mends it."""
    if settings.auth_token is None:
        return "it asks for a key: give one by --auth-token TOKEN or WEFT_AUTH_TOKEN"
    return "it does not know the key that --auth-token or WEFT_AUTH_TOKEN gives"


def refusal(error: HTTPError) -> str:
    """The reasons that a refusal gives, those of single nodes below."""
    try:
        told = json.loads(error.read())
        lines = [str(told["error"]["message"])]
        for node_id, found in (told.get("node_errors") or {}).items():
            reasons = "; ".join(f"{one['message']}: {one['details']}" for one in found["errors"])
            lines.append(f"node {node_id} ({found['class_type']}): {reasons}")
    except (ValueError, KeyError, TypeError):
        return error.reason
    return "\n".join(lines)
