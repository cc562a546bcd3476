"""Packs' own checks of inputs (VALIDATE_INPUTS) that do not end, or end their worker: others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.packs.client import Client, node
from tests.packs.conftest import serving_packs

PACK = """
import os, time

class Checked:
    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "run", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"way": ("STRING", {"default": ""})}}

    @classmethod
    def VALIDATE_INPUTS(cls, way):
        if way == "die":
            os._exit(5)
        if way:
            open(way + ".began", "w").close()
            while not os.path.exists(way):
                time.sleep(0.01)
        return True

    def run(self, way):
        return {"ui": {"text": ["done"]}}

NODE_CLASS_MAPPINGS = {"Checked": Checked}
"""


@asynccontextmanager
async def checking(base: Path, *flags: str) -> AsyncIterator[Client]:
    """A client of a server with the pack."""
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "checked.py").write_text(PACK)
    with serving_packs(base, "--cpu", *flags) as address:
        async with Client(address) as client, asyncio.timeout(300):
            yield client


async def status_of(client: Client, way: str) -> tuple[int, str]:
    body = {"prompt": {"7": node("Checked", way=way)}}
    async with client.session.post("/prompt", json=body) as response:
        return response.status, await response.text()


@pytest.mark.parametrize("flags", [(), ("--in-process",)])
async def test_a_check_that_does_not_end_holds_up_no_other(tmp_path: Path, flags: tuple[str, ...]):
    way = tmp_path / "go"
    async with checking(tmp_path, *flags) as client:
        hanging = asyncio.create_task(status_of(client, str(way)))
        while not (tmp_path / "go.began").exists():
            await asyncio.sleep(0.01)
        assert (await status_of(client, ""))[0] == 200
        assert not hanging.done()
        way.touch()
        assert (await hanging)[0] == 200


async def test_a_check_that_ends_the_worker_is_told_with_its_node_and_the_next_waits_for_another(tmp_path: Path):
    async with checking(tmp_path) as client:
        status, text = await status_of(client, "die")
        assert (status, "node 7 (Checked)" in text) == (503, True)
        assert (await status_of(client, ""))[0] == 200
