"""Synchronous calls and webhooks over the ends of clients and servers: real processes, real kills."""

import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import requests

from tests.process.front import graph
from tests.process.house import House


class Receiver(ThreadingHTTPServer):
    """Notes what it is told; answers 503 until it is `ready`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.heard: list[tuple[str, int]] = []  # ids and what was answered
        self.ready = False


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status = 204 if self.server.ready else 503
        self.server.heard.append((self.headers["webhook-id"], status))
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_call_that_is_left_ends_its_prompt_and_frees_the_worker(house: House, tmp_path):
    mark = tmp_path / "began"
    prompt = graph("Sleep", seconds=60.0, mark=str(mark))
    caller = http.client.HTTPConnection(urlsplit(house.url).netloc)
    caller.request("POST", "/weft/run", json.dumps({"prompt": prompt}), {"Content-Type": "application/json"})
    house.until(mark.exists)
    caller.close()
    house.until(lambda: house.queue() == ([], []))
    (entry,) = (entry for entry in house.get("/history").json().values() if entry["prompt"][2] == prompt)
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


def test_twenty_calls_at_once_with_one_key_are_one_run_with_equal_files(house: House):
    body = {"prompt": graph("Write", name="call", count=1, bytes=7)}

    def post(_: int) -> tuple[int, str, bytes]:
        answer = house.post("/weft/run?answer=picture", body, headers={"Idempotency-Key": "call"})
        return answer.status_code, answer.headers["X-Weft-Prompt-Id"], answer.content

    with ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(post, range(20)))
    assert len(answers) == 1
    status, _, content = answers.pop()
    assert (status, len(content)) == (200, 7)
    assert len(list((house.base / "output").glob("call*"))) == 1


def test_a_call_whose_server_is_killed_is_answered_when_it_is_sent_again(make_house, tmp_path):
    house: House = make_house().start().until_ready()
    go, headers = tmp_path / "go", {"Idempotency-Key": "again"}
    body = {"prompt": graph("Steps", steps=2, seconds=0.01, go=str(go))}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(requests.post, house.url + "/weft/run", json=body, headers=headers, timeout=60)
        house.until(lambda: house.queue()[0])
        house.kill()
        with pytest.raises(requests.ConnectionError):
            first.result()
    house.start()
    go.touch()
    answer = house.post("/weft/run", body, headers=headers)
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    assert len(house.get("/history").json()) == 1


def test_a_webhook_outlives_kill_9_and_tells_the_same_id_until_it_is_heard(make_house, receiver: Receiver):
    house: House = make_house("--allow-outbound", "127.0.0.1", "--webhook", receiver.url).start().until_ready()
    prompt_id = house.submit("Say", text="told")
    house.ended(prompt_id)
    house.until(lambda: receiver.heard)
    house.kill()
    receiver.ready = True
    house.start()
    house.until(lambda: (204 in {status for _, status in receiver.heard}) or None)
    assert len({told for told, _ in receiver.heard}) == 1
    house.until(lambda: house.job(prompt_id)["webhooks"][0]["state"] == "delivered")
    assert json.loads(house.get(f"/history/{prompt_id}").text)
