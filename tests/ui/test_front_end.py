"""The official web front end works with a real server: nothing it asks for fails, and a graph gives its picture."""

from __future__ import annotations

import io
import re
import urllib.request

import pytest
from PIL import Image

pytestmark = pytest.mark.ui

NORMAL_404 = re.compile(
    r"/user\.css|/api/userdata/user\.css|/api/userdata/comfy\.templates\.json|/api/userdata/workflows%2F\.index\.json"
    r"|/api/userdata\?dir=(workflows|subgraphs)(%2F|/)?&.*"
)
"""What a fresh ComfyUI does not have either."""
OWN_COMPLAINTS = {"1.27.10": {"Cannot read properties of undefined (reading 'id')"}}
"""What a release says at each start, while it makes its own settings."""


def test_no_request_fails_that_comfyui_would_answer(seen):
    bad = [row for row in seen.answers if row[1] >= 400 and not (row[1] == 404 and NORMAL_404.fullmatch(row[2]))]
    assert bad == []


def test_every_request_is_answered(seen):
    assert seen.unanswered == []


def test_the_page_has_nothing_to_complain_of(seen):
    own = OWN_COMPLAINTS.get(seen.release, set())
    assert [text for text in seen.complaints if text not in own] == []


def test_modules_come_as_javascript(seen):
    scripts = {path: kind for path, kind in seen.types.items() if re.search(r"\.m?js(\?|$)", path)}
    assert scripts
    assert set(scripts.values()) == {"text/javascript"}


def test_the_run_is_followed_with_previews(seen):
    run = seen.events[: seen.events.index("execution_success")]
    assert {"execution_start", "executing", "progress_state", "preview", "executed"} <= set(run)


def test_the_picture_arrives(seen):
    shown = [path for method, status, path in seen.answers if path.startswith("/api/view?") and "weft_00001_" in path]
    assert shown
    with urllib.request.urlopen(seen.url + shown[0]) as answer:
        picture = Image.open(io.BytesIO(answer.read()))
    assert (picture.format, picture.size) == ("PNG", (128, 128))


def test_a_run_is_cancelled(seen):
    assert "execution_interrupted" in seen.events
    assert seen.events.count("execution_success") == 1


def test_a_reload_takes_its_own_files_from_the_cache_after_asking(seen):
    opened = [number for number, row in enumerate(seen.answers) if row == ("GET", 200, "/")]
    assert len(opened) == 2
    assert 304 in {status for _, status, path in seen.answers[opened[1] :] if path.startswith("/assets/")}


def test_a_reload_comes_back_under_the_same_id(seen):
    assert len(seen.sockets) == 2
    assert "clientId=" in seen.sockets[1]
