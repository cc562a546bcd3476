"""Which packs are loaded, how, and what is told of them (reference/execution.md section 13, Loading)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.packs.client import PATIENCE_S, Client, node


@pytest.fixture
async def packs(client: Client) -> dict[str, dict]:
    """The report, by name of pack."""
    return {row["name"]: row for row in await client.get("/weft/packs")}


async def definition(client: Client, name: str) -> dict:
    return (await client.get(f"/object_info/{name}"))[name]


# ---------------------------------------------------------------- what is loaded


async def test_pack_is_listed_under_its_folder(client):
    assert (await definition(client, "RealWays Shrink"))["python_module"] == "custom_nodes.real_ways"


async def test_single_file_is_a_pack(client):
    assert (await definition(client, "Single"))["python_module"] == "custom_nodes.single"


async def test_display_names_are_the_packs(client):
    assert (await definition(client, "Single"))["display_name"] == "One File"


async def test_disabled_and_hidden_folders_are_no_packs(packs):
    assert not {"sleeping", "sleeping.disabled", ".hidden", "__pycache__"} & set(packs)


async def test_class_derived_from_one_of_the_server_runs(client):
    ran = await client.run(
        {
            "1": node("RealWays Steps", steps=2),
            "2": node("RealWays Shrink", image=["1", 0], width=8, model="none"),
            "3": node("RealWays Save", images=["2", 0], name="shrunk"),
        }
    )
    (image,) = ran.outputs["3"]["images"]
    assert image["type"] == "temp"


async def test_class_of_the_server_works_in_a_thread_of_a_pack(client):
    images = node("EmptyImage", width=8, height=8, batch_size=1, color=0)
    ran = await client.run({"1": images, "2": node("Hooking Saves", images=["1", 0])})
    assert len(ran.outputs["2"]["images"]) == 1


async def test_file_in_a_folder_that_a_pack_added_is_offered_and_taken(client, packs_base):
    (packs_base / "models" / "real_ways" / "new.safetensors").touch()
    assert "new.safetensors" in json.dumps(await definition(client, "RealWays Shrink"))
    ran = await client.run(
        {
            "1": node("RealWays Steps", steps=1),
            "2": node("RealWays Shrink", image=["1", 0], width=8, model="new.safetensors"),
            "3": node("PreviewImage", images=["2", 0]),
        }
    )
    assert ran.ok


async def test_built_in_node_keeps_its_name(client):
    assert (await definition(client, "SaveImage"))["python_module"] == "nodes"


async def test_prestartup_script_runs_before_torch_is_there(client, packs_base):
    ran = await client.run({"1": node("Early")})
    assert ran.outputs["1"]["found"] == ["torch is not there", str(packs_base), str(packs_base / "main.py")]


async def test_what_packs_do_while_they_are_imported_works(client):
    ran = await client.run({"1": node("At Import")})
    (told,) = ran.outputs["1"]["told"]
    assert told == {
        "thread": "ran",
        "loop": True,
        "install folder": True,
        "names": told["names"],
        "not there": [False, False],
        "base": told["base"],
    }


async def test_relative_imports_of_a_pack_work(client):
    ran = await client.run({"1": node("At Import")})
    names = ran.outputs["1"]["told"][0]["names"]
    assert names == ["at_import.inner", "at_import", "loaded by its path"]


async def test_logging_of_the_server_outlives_a_pack_that_clears_it(client, packs_base):
    await client.run({"1": node("At Import")})
    assert "a line that must reach the server's log" in (packs_base / "log.txt").read_text()


async def test_table_of_nodes_that_a_pack_replaced_is_adopted(client):
    assert (await definition(client, "Wrapped Latent"))["category"] == "takes_mapping"


async def test_star_import_of_nodes_brings_its_classes(client):
    assert (await definition(client, "Star Import"))["category"] == "True"


# ---------------------------------------------------------------- what fails


async def test_missing_library_is_named(packs):
    row = packs["needs_missing_library"]
    assert (row["state"], row["missing"]) == ("failed", ["a_library_that_nobody_has"])


async def test_failure_has_its_traceback(packs):
    assert "import a_library_that_nobody_has" in packs["needs_missing_library"]["traceback"]


async def test_failure_is_logged_once_with_the_way_out(packs, packs_base):
    log = (packs_base / "log.txt").read_text()
    starts = log.count("packs by import time")  # another test ends the worker
    assert log.count("pack needs_missing_library cannot be loaded") == starts
    assert 'requirements.txt"' in log


async def test_name_that_the_server_lacks_is_counted(packs):
    row = packs["misses_name"]
    assert (row["state"], row["missing"]) == ("failed", ["server.no_such_function"])


async def test_attribute_that_the_facade_lacks_is_counted(packs):
    assert "server.PromptServer.instance.no_such_thing" in packs["at_import"]["missing"]


async def test_pack_that_exits_is_reported_and_the_worker_lives(packs):
    row = packs["exits"]
    assert (row["state"], row["error"]) == ("failed", "its import ended by sys.exit('this pack does not like it here')")


async def test_class_that_cannot_be_listed_leaves_the_others(packs):
    row = packs["changing"]
    assert "Changing" in row["nodes"]
    assert "No Class" in row["failed_nodes"]


# ---------------------------------------------------------------- what is told


async def test_report_has_seconds_and_nodes(packs):
    row = packs["real_ways"]
    assert row["seconds"] >= 0
    assert "RealWays Chooser" in row["nodes"]


async def test_report_has_routes(packs):
    assert packs["real_ways"]["routes"] == ["POST /real_ways/choose/{node_id}", "GET /real_ways/waiting"]


async def test_pack_without_nodes_says_so(packs):
    assert packs["web_by_project"]["state"] == "loaded"


async def test_import_times_are_logged(packs, packs_base):
    lines = (packs_base / "log.txt").read_text().splitlines()
    assert any(line.endswith(str(Path("custom_nodes") / "real_ways")) and " nodes" in line for line in lines)


# ---------------------------------------------------------------- folders for browsers


async def test_web_directory_is_served(client):
    async with client.session.get("/extensions/real_ways/real.js") as response:
        assert (response.status, await response.text()) == (200, 'console.log("real_ways")\n')


@pytest.mark.parametrize("name", ["web-by-project", "by_hand"])
async def test_folders_named_by_project_or_by_hand_are_served(client, name):
    async with client.session.get(f"/extensions/{name}/one.js") as response:
        assert response.status == 200


async def test_extensions_lists_the_scripts_of_packs(client):
    listed = await client.get("/extensions")
    assert {"/extensions/real_ways/real.js", "/extensions/web-by-project/one.js"} <= set(listed)


# ---------------------------------------------------------------- listings that change


async def test_choice_that_a_run_added_is_accepted_afterwards(client):
    choice = client.id
    ran = await client.run({"1": node("Changing", choice="first", add=choice)})
    assert ran.ok
    ran = await client.run({"1": node("Changing", choice=choice, add="")})
    assert ran.outputs["1"]["choice"] == [choice]


async def test_choice_that_a_run_added_is_listed(client):
    await client.run({"1": node("Changing", choice="first", add=client.id)})
    async with asyncio.timeout(PATIENCE_S):
        while client.id not in json.dumps(await definition(client, "Changing")):  # the list waits a second for news
            await asyncio.sleep(0.1)


async def test_class_that_could_not_be_listed_is_once_it_can(client):
    await client.run({"1": node("Changing", choice="first", add=client.id)})
    async with asyncio.timeout(PATIENCE_S):
        while not await client.get("/object_info/Changing Late"):
            await asyncio.sleep(0.05)
    ran = await client.run({"1": node("Changing Late")})
    assert ran.outputs["1"]["late"] == [True]


# ---------------------------------------------------------------- patches


async def test_function_that_a_pack_replaced_is_called(client):
    ran = await client.run({"1": node("Patching Loads", value=0.5)})
    assert ran.outputs["1"] == {"back": [0.5], "noted": [True]}


async def test_replaced_functions_are_reported(packs):
    assert packs["patching"]["seams"] == ["utils.load_torch_file"]
    assert packs["real_ways"]["seams"] == []
