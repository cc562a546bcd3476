"""What packs bring for the front end, their report, and which jobs belong to their host."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from executor.contract.definition import NodeDef
from executor.engine.base import WorkerLost
from executor.messages import Clients, Packs
from executor.queue.job import make_job
from server.packs import PackHost, any_of_packs

PATIENCE_S = 60.0
REPORT = [{"name": "pack", "module": "custom_nodes.pack", "state": "loaded", "nodes": ["Mine"], "routes": ["GET /x"]}]


@pytest.fixture
def web_dir(tmp_path: Path) -> Path:
    """The web folder of a pack."""
    folder = tmp_path / "custom_nodes" / "pack" / "js"
    for name in ("main.js", "sub/part (1).js", "sub/é#.js", "style.css", ".hidden.js"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (folder.parent / "secret.py").write_text("s")
    return folder


@pytest.fixture
async def site(make_stand, ready_message, web_dir):
    """A front with that pack."""
    stand = await make_stand(ready=False)
    packs = Packs(web_dirs=(("My Pack", str(web_dir)),), hooks=True, report_json=json.dumps(REPORT).encode())
    stand.engine.tell(msgspec.structs.replace(ready_message, packs=packs))
    await stand.front.packs.arrived(PATIENCE_S)
    return stand


@pytest.mark.parametrize("path", ["/extensions", "/api/extensions"])
async def test_every_script_of_a_pack_is_listed(site, path):
    assert await (await site.get(path)).json() == [
        "/extensions/My%20Pack/main.js",
        "/extensions/My%20Pack/sub/%C3%A9%23.js",
        "/extensions/My%20Pack/sub/part%20(1).js",
    ]


async def test_listed_scripts_are_served(site):
    for address in await (await site.get("/extensions")).json():
        async with site.get(address) as answer:
            assert (answer.status, answer.content_type) == (200, "text/javascript")


async def test_style_sheets_have_their_type(site):
    assert (await site.get("/extensions/My%20Pack/style.css")).content_type == "text/css"


@pytest.mark.parametrize("path", ["My%20Pack/../secret.py", "My%20Pack/..%2Fsecret.py", "My%20Pack/", "Other/main.js"])
async def test_nothing_outside_the_web_folder_is_served(site, path):
    assert (await site.get(f"/extensions/{path}")).status == 404


async def test_report_is_shown_as_the_worker_told_it(site):
    for path in ("/weft/packs", "/api/weft/packs"):
        assert await (await site.get(path)).json() == REPORT


async def test_report_outlives_the_worker(site):
    site.engine.tell(WorkerLost("killed"))
    while site.front.packs.is_live:
        await asyncio.sleep(0)
    assert await (await site.get("/weft/packs")).json() == REPORT


async def test_there_is_no_report_before_the_worker_is_ready(make_stand):
    assert (await (await make_stand(ready=False)).get("/weft/packs")).status == 503


async def test_snapshot_brings_scripts_but_neither_address_nor_hooks(site, make_stand):
    await site.stop()
    told = (await make_stand(ready=False)).front.packs.told
    assert ([name for name, _ in told.web_dirs], told.address, told.hooks) == (["My Pack"], "", False)


async def test_snapshot_is_replaced_by_what_the_worker_says(site, make_stand, ready_message):
    await site.stop()
    stand = await make_stand()
    assert await (await stand.get("/extensions")).json() == []


@pytest.mark.parametrize("change", ["new.py", "pack/later.py"])
async def test_snapshot_of_other_packs_is_void(site, make_stand, tmp_path, change):
    await site.stop()
    (tmp_path / "custom_nodes" / change).touch()
    stand = await make_stand(ready=False)
    assert (await stand.get("/object_info")).status == 503


async def test_first_listing_of_scripts_waits_for_the_worker(make_stand, ready_message, web_dir):
    stand = await make_stand(ready=False, startup_wait_s=PATIENCE_S)
    asking = asyncio.ensure_future(stand.get("/extensions"))
    await asyncio.sleep(0)
    stand.engine.tell(msgspec.structs.replace(ready_message, packs=Packs(web_dirs=(("p", str(web_dir)),))))
    assert "/extensions/p/main.js" in await (await asking).json()


async def test_folders_that_packs_add_are_known(make_stand, ready_message, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.onnx").touch()
    stand = await make_stand(ready=False)
    packs = Packs(folders=(("detectors", (str(tmp_path / "elsewhere"),), (".onnx",)),))
    stand.engine.tell(msgspec.structs.replace(ready_message, packs=packs))
    await stand.front.packs.arrived(PATIENCE_S)
    assert await (await stand.get("/models/detectors")).json() == ["a.onnx"]


# ---------------------------------------------------------------- files


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """Packs with example workflows, one of them switched off."""
    for name in ("pack/workflows/first.json", "pack/examples/second.json", "off.disabled/workflows/third.json"):
        path = tmp_path / "custom_nodes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"nodes": []}')
    (tmp_path / "custom_nodes" / "pack" / "workflows" / "first.jpg").write_bytes(b"j")
    return tmp_path


async def test_example_workflows_are_listed_and_served(examples, make_stand):
    stand = await make_stand()
    assert await (await stand.get("/workflow_templates")).json() == {"pack": ["second", "first"]}
    for name in ("first.json", "first.jpg", "second.json"):
        assert (await stand.get(f"/api/workflow_templates/pack/{name}")).status == 200


@pytest.mark.parametrize("name", ["pack/third.json", "pack/..%2Fx", "off.disabled/third.json", "off/third.json"])
async def test_what_is_no_example_is_not_served(examples, make_stand, name):
    stand = await make_stand()
    assert (await stand.get(f"/api/workflow_templates/{name}")).status == 404


@pytest.mark.parametrize(("allowed", "shown"), [((), {}), (("pack",), {"pack": ["second", "first"]})])
async def test_packs_that_are_switched_off_bring_nothing(examples, make_stand, allowed, shown):
    stand = await make_stand(disable_custom_nodes=True, allowed_packs=allowed)
    assert await (await stand.get("/workflow_templates")).json() == shown


async def test_packs_in_extra_folders_count(make_stand, tmp_path):
    (tmp_path / "more" / "far" / "locales" / "de").mkdir(parents=True)
    (tmp_path / "more" / "far" / "locales" / "de" / "main.json").write_text('{"x": 1}')
    (tmp_path / "extra_model_paths.yaml").write_text("more:\n  custom_nodes: more\n")
    stand = await make_stand()
    assert await (await stand.get("/i18n")).json() == {"de": {"x": 1}}


# ---------------------------------------------------------------- jobs of the host


def node(name: str, pack: str) -> NodeDef:
    return NodeDef(name=name, display_name=name, category="t", inputs=(), outputs=(), pack=pack)


DEFINITIONS = {"Mine": node("Mine", "custom_nodes.pack"), "Other": node("Other", "custom_nodes.other")}


@pytest.mark.parametrize(("classes", "tied"), [(["Mine", "Other"], True), (["Other"], False), (["Unknown"], False)])
def test_job_with_a_node_of_a_pack_with_routes_is_tied(classes, tied):
    packs = PackHost()
    packs.take(Packs(report_json=json.dumps(REPORT).encode()))
    prompt = {str(number): {"class_type": name, "inputs": {}} for number, name in enumerate(classes)}
    assert packs.is_tied(make_job(prompt_id="a", number=0, prompt=prompt, targets=[]), DEFINITIONS) is tied


SUITE = "custom_nodes.ComfyUI-VideoHelperSuite"


@pytest.mark.parametrize(
    ("module", "report", "expected"),
    [
        ("nodes", [], False),
        ("custom_nodes.pack", [], True),
        ("custom_nodes.websocket_image_save", [], False),
        (SUITE, [], False),
        (SUITE, [{"module": SUITE, "nodes": ["Mine"]}], True),
    ],
    ids=["ours", "a pack's", "brought along", "stood in for", "the pack itself"],
)
def test_nodes_of_ours_that_bear_a_packs_module_are_no_pack(module, report, expected):
    assert any_of_packs([node("Mine", module)], json.dumps(report).encode()) is expected


async def test_workers_are_told_of_clients_once_they_are_ready_and_at_every_change(site):
    ready = [message for _, message in site.engine.informed]
    assert ready[-1] == Clients(changes={}, whole=True)
    async with site.client.ws_connect("/ws?clientId=me"):
        pass
    assert site.engine.informed[len(ready)][1] == Clients(changes={"me": {}})
