"""The unchanged front end at a server that asks for a key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.ui

GRAPH = Path(__file__).parents[2] / "examples" / "text_to_image.json"


def test_page_websocket_run_and_pictures_work_behind_a_key(key_holder):
    key_holder.load(GRAPH, len(json.loads(GRAPH.read_text(encoding="utf-8"))))
    key_holder.run()
    key_holder.seen.until("execution_success")
    key_holder.pictured("SaveImage")
    assert not [path for _, _, path in key_holder.seen.answers if "token=" in path and not path.startswith("/?")]
