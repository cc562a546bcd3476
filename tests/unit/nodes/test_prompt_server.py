"""The facade that packs call the server, without a front: what it sends and asks."""

import json
from concurrent.futures import Future
from pathlib import Path

import pytest
from aiohttp import web
from PIL import Image

from executor.context import InterruptFlag
from executor.messages import Blob, Emit, FromWorker, Run
from executor.settings import Settings
from executor.worker.line import Line
from nodes.prompt_server import BinaryEventTypes, PromptServer


class Control:
    """Notes what is sent, and answers every wish with `reply`."""

    def __init__(self) -> None:
        self.sent: list[FromWorker] = []
        self.wishes: list[tuple[str, object]] = []
        self.reply: object = None

    def send(self, message: FromWorker) -> None:
        self.sent.append(message)

    def is_answering(self) -> bool:
        return False

    def request(self, wish: str, body_json: bytes, owner: str = "", *, at_once: bool = False) -> Future[bytes]:
        self.wishes.append((wish, json.loads(body_json)))
        answer: Future[bytes] = Future()
        answer.set_result(json.dumps(self.reply).encode())
        return answer


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def line(control: Control) -> Line:
    return Line(control)


@pytest.fixture
def missed() -> list[str]:
    return []


@pytest.fixture
def server(line: Line, tmp_path: Path, missed: list[str]) -> PromptServer:
    server = PromptServer(line, Settings(), tmp_path, missed.append)
    line.watcher = server
    return server


def begin(line: Line) -> None:
    line.began(Run(job_id="job", prompt_json=b'{"1": {}}', targets=("1",), client_id="me"), InterruptFlag())
    line.node_started("1")


# ---------------------------------------------------------------- events


def test_event_without_a_client_goes_to_all(server: PromptServer, control: Control):
    server.send_sync("hello", {"a": float("nan")})
    assert control.sent == [Emit(job_id="", event="hello", data_json=b'{"a": NaN}', audience="all")]


def test_event_for_a_client_goes_to_it_alone(server: PromptServer, control: Control, line: Line):
    begin(line)
    server.send_sync("hello", 1, "you")
    assert control.sent == [Emit(job_id="job", event="hello", data_json=b"1", audience="owner", client_id="you")]


def test_event_that_is_no_json_is_logged_not_sent(
    server: PromptServer, control: Control, caplog: pytest.LogCaptureFixture
):
    server.send_sync("hello", {"a": object()})
    assert control.sent == []
    assert "'hello'" in caplog.text


def test_octets_go_as_they_are(server: PromptServer, control: Control):
    server.send_sync(9, bytearray(b"abc"), "you")
    assert control.sent == [Blob(job_id="", kind="raw", node_id="", event=9, body=b"abc", client_id="you")]


def test_binary_event_of_other_data_is_refused(server: PromptServer):
    with pytest.raises(TypeError, match="needs bytes"):
        server.send_sync(9, {"a": 1})


def test_picture_becomes_a_preview_of_the_node(server: PromptServer, control: Control, line: Line):
    begin(line)
    server.send_sync(BinaryEventTypes.UNENCODED_PREVIEW_IMAGE, ("JPEG", Image.new("RGBA", (64, 8)), 16), "me")
    (blob,) = control.sent
    assert (blob.kind, blob.node_id, blob.image_type, blob.body[:2]) == ("preview", "1", "image/jpeg", b"\xff\xd8")


def test_picture_with_metadata_keeps_them(server: PromptServer, control: Control):
    data = (("PNG", Image.new("RGB", (8, 8)), None), {"node_id": "5"})
    server.send_sync(BinaryEventTypes.PREVIEW_IMAGE_WITH_METADATA, data)
    (blob,) = control.sent
    assert (json.loads(blob.header_json), blob.image_type) == ({"node_id": "5"}, "image/png")


def test_text_belongs_to_its_node(server: PromptServer, control: Control):
    server.send_progress_text("half", 7, "you")
    assert control.sent == [Blob(job_id="", kind="text", node_id="7", body=b"half", client_id="you")]


# ---------------------------------------------------------------- what runs


def test_facade_knows_what_runs(server: PromptServer, line: Line):
    begin(line)
    assert (server.client_id, server.last_prompt_id, server.last_node_id) == ("me", "job", "1")


def test_running_prompt_is_known_without_asking(server: PromptServer, line: Line, control: Control):
    begin(line)
    assert server.prompt_queue.currently_running == {0: (0.0, "job", {"1": {}}, {}, ["1"])}
    assert control.wishes == []


def test_nothing_runs_between_prompts(server: PromptServer, line: Line):
    begin(line)
    line.ended()
    assert server.prompt_queue.currently_running == {}


# ---------------------------------------------------------------- the queue


def test_put_asks_for_the_next_place(server: PromptServer, control: Control):
    server.prompt_queue.put((4, "id", {}, {}, ["1"]))
    assert control.wishes == [("enqueue", [None, "id", {}, {}, ["1"]])]


def test_put_before_others_keeps_its_number(server: PromptServer, control: Control):
    server.prompt_queue.put((-4, "id", {}, {}, ["1"], {"key": "secret"}))
    assert control.wishes == [("enqueue", [-4, "id", {}, {}, ["1"], {"key": "secret"}])]


def test_delete_takes_the_first_that_fits(server: PromptServer, control: Control):
    control.reply = {"queue_running": [], "queue_pending": [[0, "a"], [1, "b"], [2, "b"]]}
    assert server.prompt_queue.delete_queue_item(lambda item: item[1] == "b") is True
    assert control.wishes[1] == ("delete", ["b"])


def test_delete_of_nothing_says_so(server: PromptServer, control: Control):
    control.reply = {"queue_running": [], "queue_pending": []}
    assert server.prompt_queue.delete_queue_item(lambda item: True) is False


def test_what_waits_can_be_looked_at_under_the_lock(server: PromptServer, control: Control):
    control.reply = {"queue_running": [], "queue_pending": [[0, "a"]]}
    with server.prompt_queue.mutex:
        assert server.prompt_queue.queue == [[0, "a"]]


def test_history_is_asked_for_by_window(server: PromptServer, control: Control):
    control.reply = {"a": 1}
    assert server.prompt_queue.get_history(max_items=2, offset=3, map_function=str) == {"a": "1"}
    assert control.wishes == [("queue", {"history": {"max_items": 2, "offset": 3}})]


def test_remaining_prompts_are_counted(server: PromptServer, control: Control):
    control.reply = {"queue_running": [[]], "queue_pending": [[], []]}
    assert server.get_queue_info() == {"exec_info": {"queue_remaining": 3}}


# ---------------------------------------------------------------- hooks


def test_hooks_follow_each_other(server: PromptServer):
    server.add_on_prompt_handler(lambda body: {**body, "a": 1})
    server.add_on_prompt_handler(lambda body: {**body, "b": body["a"] + 1})
    assert server.trigger_on_prompt({}) == {"a": 1, "b": 2}


def test_hook_that_raises_changes_nothing(server: PromptServer, caplog: pytest.LogCaptureFixture):
    server.add_on_prompt_handler(lambda body: body["absent"])
    assert server.trigger_on_prompt({"a": 1}) == {"a": 1}
    assert "KeyError" in caplog.text


def test_hook_that_returns_nothing_changes_nothing(server: PromptServer, caplog: pytest.LogCaptureFixture):
    server.add_on_prompt_handler(lambda body: None)
    assert server.trigger_on_prompt({"a": 1}) == {"a": 1}
    assert "returned no body" in caplog.text


# ---------------------------------------------------------------- the rest


def test_any_attribute_may_be_set(server: PromptServer):
    server.of_a_pack = 3
    assert server.of_a_pack == 3


def test_attribute_that_is_not_there_is_noted(server: PromptServer, missed: list[str]):
    assert not hasattr(server, "no_such_thing")
    assert missed == ["server.PromptServer.instance.no_such_thing"]


def test_routes_and_application_are_real(server: PromptServer):
    assert isinstance(server.app, web.Application)
    assert isinstance(server.routes, web.RouteTableDef)


def test_files_of_a_user_stay_in_the_users_folder(server: PromptServer, tmp_path: Path):
    path = server.user_manager.get_request_user_filepath(None, "settings/a.json")
    assert path == str(tmp_path / "default" / "settings" / "a.json")
    assert server.user_manager.get_request_user_filepath(None, "../../a.json") is None
