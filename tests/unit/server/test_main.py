"""The front as a process: what it imports, how soon it answers, how it stops."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from executor.settings import Settings
from server.main import Server, build, drain_told, empty

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "nodes", "PIL", "numpy", "diffusers", "executor.worker", "executor.inference", "executor.graph.run")


def run_python(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )


def test_front_imports_neither_torch_nor_nodes():
    code = f"import sys, server.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"


@pytest.fixture
def process(tmp_path):
    """A server as a process that listens, and its address."""
    command = [sys.executable, "-m", "server", "--base-directory", str(tmp_path), "--port", "0"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    line = child.stdout.readline()
    yield child, line.rpartition("http://")[2].strip()
    child.kill()
    child.wait()
    child.stdout.close()


def test_first_answer_does_not_wait_for_the_worker(process):
    child, address = process
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/system_stats")
    body = json.loads(connection.getresponse().read())
    times = psutil.Process(child.pid).cpu_times()
    connection.request("GET", "/health")
    workers = json.loads(connection.getresponse().read())["workers"]
    connection.close()
    assert body["devices"]
    assert workers[0]["state"] == "starting"
    assert times.user + times.system < 1.0, "a second of work, whatever else the machine does"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to catch")
def test_sigterm_ends_it_in_order(process):
    child, _ = process
    child.send_signal(signal.SIGTERM)
    assert child.wait(120) == 0


def test_second_server_on_the_same_folder_is_refused(process, tmp_path):
    command = [sys.executable, "-m", "server", "--base-directory", str(tmp_path), "--port", "0"]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "cannot start" in second.stderr


async def test_taken_port_is_told(tmp_path, make_stand):
    stand = await make_stand()
    settings = Settings(base_directory=tmp_path / "other", port=stand.client.port)
    server = Server(build(settings, stand.engine))
    with pytest.raises(OSError, match=str(settings.port)):
        await server.start()
    await server.front.store.close()


def test_temp_folder_is_emptied(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a").touch()
    (tmp_path / "b").touch()
    empty(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_emptying_a_missing_folder_is_fine(tmp_path):
    empty(tmp_path / "none")


async def test_a_stop_tells_of_prompts_only_where_some_run(stand):
    assert drain_told(stand.front) == ""
    await stand.submit()
    await stand.engine.job()
    assert drain_told(stand.front) == f"; the running prompt has {stand.front.settings.drain_timeout_s:g} s to end"
