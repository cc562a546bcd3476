"""The pack that docs/custom_nodes.md shows: taken from the text and run as it says."""

from __future__ import annotations

import json
import re

from tests.packs.client import Client
from tests.packs.conftest import DOCUMENTED, TEXT


async def test_it_is_listed_and_runs_as_told(client: Client):
    listing, running = re.findall(r"^curl -s http://127\.0\.0\.1:8188(\S+)(?: -d '(.+)')?$", TEXT, re.MULTILINE)[:2]
    assert (await client.get(listing[0]))["Shout"]["display_name"] == "Shout (example)"
    async with client.session.post(running[0], json=json.loads(running[1])) as answer:
        told = await answer.json()
    (promised,) = re.findall(r'holds `"outputs": (.+)`', TEXT)
    assert told["outputs"] == json.loads(promised)


def test_it_is_about_ten_lines_long():
    assert 10 <= len(list(filter(None, DOCUMENTED.splitlines()))) <= 14
