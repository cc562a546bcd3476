"""A whole server over its lives, for tests that kill and restart it: real processes, a folder that stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.process.front import graph

ROOT = Path(__file__).parents[2]
LOADER = "tests.process.durable_nodes:load"
PATIENCE_S = 300.0
LOOK_S = 0.02

Json = dict[str, Any]


class House:
    """One base folder and the server that lives in it now."""

    def __init__(self, base: Path, *flags: str, module: str = "tests.fake_server", loader: str = LOADER) -> None:
        self.base = base
        self.flags = flags
        self.module = module
        self.loader = loader
        self.url = ""
        self.process: subprocess.Popen[str] | None = None
        self.session = requests.Session()

    # ---------------------------------------------------------------- lives

    def start(self) -> House:
        """Start a server and wait until it listens."""
        command = [sys.executable, "-m", self.module, "--base-directory", str(self.base), "--port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "WEFT_TEST_LOADER": self.loader, "OMP_NUM_THREADS": "1"}
        with (self.base / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.flags], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        line = self.process.stdout.readline()
        assert "http://" in line, self.log()
        self.url = line[line.index("http://") :].strip()
        return self

    def kill(self) -> None:
        """End the front at once, and wait until its workers are gone too."""
        workers = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self._gone(workers)

    def stop(self) -> int:
        """Ask the server to end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end of the server; its exit code."""
        code = self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        self.session.close()
        self.session = requests.Session()
        return code

    def close(self) -> None:
        """End what still runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.session.close()

    def _gone(self, workers: list[psutil.Process]) -> None:
        self.wait()
        self.until(lambda: not any(map(_lives, workers)))

    def log(self) -> str:
        """What the server wrote on standard error."""
        return (self.base / "log.txt").read_text()

    # ---------------------------------------------------------------- what it is asked

    def get(self, path: str, **options: Any) -> requests.Response:
        """An answer."""
        return self.session.get(self.url + path, timeout=PATIENCE_S, **options)

    def post(self, path: str, body: object = None, **options: Any) -> requests.Response:
        """The answer to a JSON body."""
        return self.session.post(self.url + path, json=body, timeout=PATIENCE_S, **options)

    def submit(self, class_type: str = "Say", prompt_id: str | None = None, **inputs: object) -> str:
        """Queue a prompt of one node; its id."""
        body = {"prompt": graph(class_type, **inputs), **({"prompt_id": prompt_id} if prompt_id else {})}
        answer = self.post("/prompt", body)
        assert answer.status_code == 200, answer.text
        return answer.json()["prompt_id"]

    def run(self, class_type: str = "Say", **inputs: object) -> Json:
        """Queue a prompt and wait for its end; its history entry."""
        return self.ended(self.submit(class_type, **inputs))

    def entry(self, prompt_id: str) -> Json | None:
        """The history entry of a prompt."""
        return self.get(f"/history/{prompt_id}").json().get(prompt_id)

    def ended(self, prompt_id: str) -> Json:
        """Wait for the history entry of a prompt."""
        return self.until(lambda: self.entry(prompt_id))

    def job(self, prompt_id: str) -> Json:
        """What /weft/jobs tells of a prompt."""
        return self.get(f"/weft/jobs/{prompt_id}").json()

    def queue(self) -> tuple[list[str], list[str]]:
        """The ids that run and that wait."""
        told = self.get("/queue").json()
        running, pending = told["queue_running"], told["queue_pending"]
        return [item[1] for item in running], [item[1] for item in pending]

    def is_running(self, prompt_id: str) -> bool:
        """Tell whether a prompt runs."""
        return prompt_id in self.queue()[0]

    def known(self) -> set[str]:
        """Every id that queue or history know."""
        running, pending = self.queue()
        return {*running, *pending, *self.get("/history").json()}

    def worker(self) -> psutil.Process:
        """The worker's process, once it is there."""
        pid = self.until(lambda: self.get("/health").json()["workers"][0]["pid"])
        return psutil.Process(pid)

    def until_ready(self) -> House:
        """Wait until prompts can run."""
        self.until(lambda: self.get("/ready").status_code == 200)
        return self

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for something true, which is returned."""
        end_s = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert time.monotonic() < end_s, self.log()[-5000:]
            threading.Event().wait(LOOK_S)
        return found


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def failure(entry: Json) -> Json:
    """The data of the error that ended a prompt."""
    event, data = entry["status"]["messages"][-1]
    assert event == "execution_error", entry["status"]
    return data


def succeeded(entry: Json) -> bool:
    """Tell whether a prompt ended well."""
    return entry["status"]["status_str"] == "success"


@contextmanager
def asked_all_the_time(house: House) -> Iterator[list[int]]:
    """Ask the server something again and again; the statuses it answered."""
    statuses: list[int] = []
    over = threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            while not over.is_set():
                statuses.append(session.get(f"{house.url}/queue", timeout=PATIENCE_S).status_code)
                over.wait(0.05)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        over.set()
        thread.join()


def events_of(house: House, **query: object) -> Iterator[Json]:
    """The events of /weft/events as they come: {"id", "event", "data"}."""
    with requests.get(f"{house.url}/weft/events", params=query, stream=True, timeout=PATIENCE_S) as answer:
        assert answer.status_code == 200, answer.text
        yield from parsed(answer)


def parsed(answer: requests.Response) -> Iterator[Json]:
    """The events of a stream."""
    event: Json = {}
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        name, _, value = line.partition(": ")
        if not line:
            if "data" in event:
                yield event
            event = {}
        elif name == "data":
            event["data"] = json.loads(value)
        elif name:
            event[name] = value
