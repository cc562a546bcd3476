"""Retention of a whole server: what jobs wrote goes when it is too old, over restarts and kills, and nothing else."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.process.house import PATIENCE_S, ROOT, House

DAY_NS = 86400 * 10**9


def age(house: House, path: Path, days: float) -> None:
    """Let a file that a job wrote, and the server's account of it, be older; the server must not run."""
    mtime_ns = path.stat().st_mtime_ns - int(days * DAY_NS)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    for record in (house.base / "user" / "written").iterdir():
        lines = record.read_text()
        record.write_text(lines.replace(str(path.stat().st_mtime_ns + int(days * DAY_NS)), str(mtime_ns)))
    with sqlite3.connect(house.base / "user" / "written.sqlite3") as account:
        account.execute("UPDATE written SET mtime_ns = ? WHERE name = ?", (mtime_ns, path.name))
    account.close()


def outputs(house: House) -> list[str]:
    return sorted(path.name for path in (house.base / "output").iterdir())


def weft(house: House, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server", *words, "--base-directory", str(house.base)]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=PATIENCE_S
    )


@pytest.fixture
def wrote(make_house) -> House:
    """A server that was killed after a job wrote two files; one of them is nine days old, and so is the user's own."""
    house: House = make_house("--keep-outputs", "7d").start().until_ready()
    house.run("Write", name="job", count=2, bytes=10, ending=".dat")
    house.until(lambda: list((house.base / "user" / "attempts").iterdir()) == [])
    house.kill()
    (house.base / "output" / "mine.png").write_bytes(b"mine")
    age(house, house.base / "output" / "job_00001_.dat", 9)
    os.utime(house.base / "output" / "mine.png", (0, 0))
    return house


def test_old_files_of_jobs_go_after_a_restart_and_the_history_keeps_its_entry(wrote: House):
    wrote.start()
    wrote.until(lambda: outputs(wrote) == ["job_00002_.dat", "mine.png"])
    (entry,) = wrote.get("/history").json().values()
    assert [file["filename"] for file in entry["outputs"]["1"]["files"]] == ["job_00001_.dat", "job_00002_.dat"]
    assert wrote.get("/view?filename=job_00001_.dat").status_code == 404
    assert wrote.get("/view?filename=job_00002_.dat").status_code == 200
    wrote.until(lambda: 'weft_retention_removed_total{folder="output"} 1.0' in wrote.get("/metrics").text)
    wrote.until(lambda: "removed 1 file from output" in wrote.log())


def test_a_dry_run_beside_a_server_tells_what_a_clean_then_removes(make_house, wrote: House):
    wrote.close()
    house: House = make_house("--auth-token", "0123456789abcdef").start()
    port = house.url.rpartition(":")[2]
    flags = ("--keep-outputs", "7d", "--port", port)
    refused = weft(house, "clean", "--dry-run", *flags)
    assert (refused.returncode, "401" in refused.stderr) == (1, True)
    dry = weft(house, "clean", "--dry-run", *flags, WEFT_AUTH_TOKEN="0123456789abcdef")
    assert dry.stdout == "output: job_00001_.dat (10 bytes, 9 d old)\nwould be removed: 1 file from output, 10 bytes\n"
    assert len(outputs(house)) == 3
    done = weft(house, "clean", *flags, WEFT_AUTH_TOKEN="0123456789abcdef")
    assert done.stdout == "removed: 1 file from output, 10 bytes\n"
    assert outputs(house) == ["job_00002_.dat", "mine.png"]


def test_a_server_that_cannot_be_asked_keeps_everything(wrote: House):
    wrote.flags = ()
    wrote.start()
    refused = weft(wrote, "clean", "--keep-outputs", "7d", "--port", "1")
    assert refused.returncode == 1
    assert "none answers at http://127.0.0.1:1/weft/clean" in refused.stderr
    assert len(outputs(wrote)) == 3


def test_clean_works_where_no_server_runs(wrote: House):
    with sqlite3.connect(wrote.base / "user" / "queue.sqlite3") as queue:
        queue.execute("UPDATE history SET ended_ms = ended_ms - ?", (9 * DAY_NS // 10**6,))
    queue.close()
    done = weft(wrote, "clean", "--keep-outputs", "7d", "--keep-history", "7d")
    assert done.returncode == 0, done.stderr
    assert "removed: 1 file from output, 10 bytes\nremoved: 1 entry of the history" in done.stdout
    assert weft(wrote, "clean", "--keep-outputs", "7d").stdout.startswith("nothing is too much: outputs 7d; temp 7d")
    assert outputs(wrote) == ["job_00002_.dat", "mine.png"]


def test_clean_needs_the_right_to_manage(make_house, tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text('[[key]]\nname = "bot"\ntoken = "0123456789abcdef"\nscopes = ["submit", "read"]\n')
    house: House = make_house("--auth-keys", str(keys)).start()
    headers = {"Authorization": "Bearer 0123456789abcdef"}
    answer = requests.post(f"{house.url}/weft/clean", json={}, headers=headers, timeout=PATIENCE_S)
    assert answer.status_code == 403


def test_a_cached_result_whose_file_is_gone_is_made_anew(house: House):
    first = house.run("Write", name="again", count=1, bytes=10, salt="gone")
    (shown,) = first["outputs"]["1"]["files"]
    path = house.base / "output" / shown["filename"]
    assert house.run("Write", name="again", count=1, bytes=10, salt="gone")["outputs"] == first["outputs"]
    path.unlink()
    assert house.run("Write", name="again", count=1, bytes=10, salt="gone")["outputs"] == first["outputs"]
    assert path.read_bytes() == b"x" * 10
