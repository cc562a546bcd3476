"""What the doctor sees of a machine, with a worker that a test plays."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from executor.engine.base import EngineMessage, Hear, WorkerLost
from executor.messages import Device, Packs, Ready
from executor.queue.database import Database
from executor.settings import Settings
from server import doctor, neighbour
from server.doctor import Finding, examine, report

CPU = Device(name="cpu", type="cpu", index=None, vram_total=8, vram_free=4, torch_vram_total=8, torch_vram_free=4)
PACK = {
    **{"name": "p", "folder": "/p", "state": "failed", "error": "boom"},
    **{"missing": [], "nodes": [], "failed_nodes": {}},
}


class Engine:
    """One worker that tells some things."""

    def __init__(self, *told: EngineMessage) -> None:
        self.told, self.stopped = told, False

    async def start(self, hear: Hear) -> None:
        for message in self.told:
            hear("w", message)

    async def stop(self) -> None:
        self.stopped = True


def ready(*packs: dict[str, object]) -> Ready:
    told = Packs(report_json=json.dumps(packs).encode())
    return Ready(definitions=(), wire_json=b"{}", devices=(CPU,), torch_version="2", packs=told)


async def found(settings: Settings, *told: EngineMessage) -> dict[str, Finding]:
    return {finding.topic: finding for finding in await examine(settings, Engine(*told or (ready(),)))}


async def test_a_new_folder_is_no_obstacle(tmp_path: Path):
    findings = await found(Settings(base_directory=tmp_path, port=0))
    assert {topic for topic, finding in findings.items() if finding.state == "bad"} == set()
    assert findings["device"].state == "odd", "a CPU is told with what it means"
    assert (await found(Settings(base_directory=tmp_path, port=0, vram_mode="cpu")))["device"].state == "good"


async def test_a_file_in_a_folders_place_is_bad(tmp_path: Path):
    (tmp_path / "output").write_text("")
    finding = (await found(Settings(base_directory=tmp_path, port=0)))["folder output"]
    assert (finding.state, "--output-directory" in finding.advice) == ("bad", True)


async def test_a_taken_port_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(neighbour, "PATIENCE_S", 0.05)  # what listens there never answers
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(base_directory=tmp_path, port=taken.getsockname()[1])
        assert (await found(settings))["address"].state == "bad"


async def test_a_queue_that_another_server_holds_is_bad(tmp_path: Path):
    (tmp_path / "user").mkdir()
    database = Database(tmp_path / "user" / "queue.sqlite3")
    await database.open()
    try:
        finding = (await found(Settings(base_directory=tmp_path, port=0)))["queue"]
    finally:
        await database.close()
    assert (finding.state, "another server" in finding.seen) == ("bad", True)


async def test_another_program_that_speaks_http_is_no_server_of_ours(tmp_path: Path):
    async def health(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application()
    app.router.add_get("/health", health)
    async with TestServer(app) as taken:
        finding = (await found(Settings(base_directory=tmp_path, port=taken.port)))["address"]
    assert (finding.state, "Another program" in finding.advice) == ("bad", True)


async def test_listening_to_all_without_keys_is_bad(tmp_path: Path):
    assert (await found(Settings(base_directory=tmp_path, port=0, host="0.0.0.0")))["keys"].state == "bad"


async def test_a_pack_that_fails_is_named_with_its_error(tmp_path: Path):
    finding = (await found(Settings(base_directory=tmp_path, port=0), ready(PACK)))["pack p"]
    assert (finding.state, finding.seen) == ("odd", "boom")


async def test_nodes_that_cannot_be_listed_are_named_with_their_errors(tmp_path: Path):
    pack = {**PACK, "state": "loaded", "error": "", "nodes": ["Good"], "failed_nodes": {"Bad": "OSError: no list"}}
    finding = (await found(Settings(base_directory=tmp_path, port=0), ready(pack)))["pack p"]
    assert (finding.state, finding.seen) == ("odd", "loaded, 1 nodes")
    assert finding.advice == "Bad cannot be listed: OSError: no list"


async def test_what_failed_of_a_pack_that_loaded_is_told(tmp_path: Path):
    pack = {**PACK, "state": "empty", "error": "prestartup_script.py failed"}
    finding = (await found(Settings(base_directory=tmp_path, port=0), ready(pack)))["pack p"]
    assert (finding.state, finding.seen) == ("odd", "empty, 0 nodes; prestartup_script.py failed")


async def test_a_pack_that_ends_the_worker_is_told_by_the_next_one(tmp_path: Path):
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "custom_nodes" / "p.py").write_text("")
    settings = Settings(base_directory=tmp_path, port=0)
    findings = await found(settings, WorkerLost("exit code 3"), ready(PACK))
    assert ("worker" in findings, findings["pack p"].seen) == (False, "boom")
    findings = await found(settings, WorkerLost("exit code 3"), WorkerLost("exit code 4"), ready(PACK))
    assert "exit code 4" in findings["worker"].seen, "more ends than packs: it is something else"


async def test_a_worker_that_ends_is_bad_and_the_rest_is_still_told(tmp_path: Path):
    findings = await found(Settings(base_directory=tmp_path, port=0), WorkerLost("exit code 1"))
    assert (findings["worker"].state, findings["folder output"].state) == ("bad", "odd")


def test_the_report_has_a_line_for_each_finding_and_the_advice_below():
    text = report([Finding("good", "a", "fine"), Finding("bad", "b", "broken", "mend it\nsoon")])
    assert text == "ok    a: fine\nBAD   b: broken\n        mend it\n        soon\n"


async def test_what_is_kept_is_told(tmp_path: Path):
    findings = await found(Settings(base_directory=tmp_path, port=0, keep_outputs=("30d", "20GB")))
    assert findings["what is kept"].seen == "outputs 30d, 20GB; temp 7d; inputs 30d; history all"


async def test_a_disk_that_is_nearly_full_leads_to_bounds(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(doctor, "LITTLE_SPACE", 1 << 62)
    findings = await found(Settings(base_directory=tmp_path, port=0))
    assert "--keep-outputs 30d 20GB" in findings["disk of output"].advice
    assert "--keep-temp" in findings["disk of temp"].advice
