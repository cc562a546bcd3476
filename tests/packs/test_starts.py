"""Servers of their own: packs in the front's process, packs that end the process, packs switched off."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packs.client import Client, node
from tests.packs.conftest import FIXTURES, serving_packs

DEADLY = "import os\nos._exit(13)\n"


def put(base: Path, *names: str) -> None:
    """Copy fixture packs into a server's folder."""
    for name in names:
        shutil.copytree(FIXTURES / name, base / "custom_nodes" / name)


async def test_packs_work_in_the_process_of_the_front(tmp_path):
    put(tmp_path, "real_ways", "semantics_v1")
    with serving_packs(tmp_path, "--cpu", "--in-process") as address:
        async with Client(address) as client:
            assert await client.get("/real_ways/waiting") == []
            ran = await client.run({"1": node("V1 Count", n=2), "2": node("V1 Show", value=["1", 0])})
            assert ran.outputs["2"]["values"] == [0, 1]


@pytest.fixture(scope="module")
def choosy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with all packs switched off but two, one of which ends the process while it is imported."""
    base = tmp_path_factory.mktemp("choosy")
    put(base, "real_ways", "semantics_v1")
    (base / "custom_nodes" / "deadly.py").write_text(DEADLY)
    flags = ("--disable-all-custom-nodes", "--whitelist-custom-nodes", "semantics_v1", "deadly")
    with serving_packs(base, "--cpu", *flags) as address:
        yield address


async def test_pack_that_ends_the_process_is_left_out_by_the_next(choosy):
    async with Client(choosy) as client:
        rows = {row["name"]: row for row in await client.get("/weft/packs")}
    assert "ended while this pack was being imported" in rows["deadly"]["error"]


async def test_only_listed_packs_are_loaded_when_all_are_switched_off(choosy):
    async with Client(choosy) as client:
        states = {row["name"]: row["state"] for row in await client.get("/weft/packs")}
        async with client.session.get("/real_ways/waiting") as response:
            assert response.status == 404
    assert states == {"deadly": "failed", "real_ways": "skipped", "semantics_v1": "loaded"}
