"""Every route of /openapi.json, asked for whatever it declares and for what it does not, by Schemathesis.

No answer is a 5xx, and each has a status, a content type and a body that the document declares. The websocket is left
out: a plain request is no handshake.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.serving import serving

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
PATIENCE_S = 300.0


def wait_until_ready(url: str) -> None:
    """Wait for the worker: until then some answers are an honest 503."""
    deadline = time.monotonic() + PATIENCE_S
    while b"idle" not in urllib.request.urlopen(f"{url}/health", timeout=10).read():
        assert time.monotonic() < deadline, "the worker does not start"
        time.sleep(0.05)


def ask_everything(base: Path, *options: str, limit_s: float = 600) -> None:
    """Start a server and let Schemathesis ask it; fails with its report."""
    with serving(base, module="tests.fake_server") as url:
        wait_until_ready(url)
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run"]
        command += [
            f"{url}/openapi.json",
            "--exclude-path",
            "/ws",
            "--exclude-path",
            "/weft/events",
            "--no-color",
            *options,
        ]
        done = subprocess.run(command, cwd=base, capture_output=True, text=True, timeout=limit_s, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_answer_is_as_declared(tmp_path: Path) -> None:
    ask_everything(tmp_path, "--phases", "examples,coverage,fuzzing", "--max-examples", "10")


@pytest.mark.soak
def test_every_answer_is_as_declared_for_minutes(tmp_path: Path) -> None:
    ask_everything(tmp_path, "--phases", "examples,coverage,fuzzing", "--max-examples", "100", limit_s=3600)
