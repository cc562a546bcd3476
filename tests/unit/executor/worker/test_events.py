"""What a running prompt tells, as messages."""

import io
import json
import math

import pytest
from PIL import Image

from executor.context import PreviewChoice
from executor.messages import Blob, Emit, FromWorker, Run
from executor.worker.events import WireEvents
from executor.worker.terminal import Terminal


class Recorder:
    """Events whose messages are kept; `steps` is what the terminal was shown."""

    def __init__(self, *, previews: bool = True) -> None:
        self.sent: list[FromWorker] = []
        self.flushed = 0
        self.held: list[FromWorker] = []
        self.steps: list[tuple[object, ...]] = []
        self.choice = PreviewChoice("auto" if previews else "none")
        terminal = Terminal()
        terminal.step = lambda *step: self.steps.append(step)  # type: ignore[method-assign]
        job = Run(job_id="a", prompt_json=b"{}", targets=(), client_id="me")
        self.events = WireEvents(
            job,
            self.sent.append,
            hold=self.hold,
            flush=self.flush,
            preview_size=64,
            terminal=terminal,
            titles=lambda: {"3": "Sampler"},
            previews=self.choice,
        )

    def hold(self, message: FromWorker, *, alone: bool) -> None:
        self.held.append(message)
        self.sent.append(message)

    def flush(self) -> None:
        self.flushed += 1


class Picture:
    """A preview of a given size."""

    def __init__(self, width: int, height: int, mode: str = "RGB") -> None:
        self._made = Image.new(mode, (width, height), "red")

    def image(self) -> Image.Image:
        return self._made


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


class Asked(Picture):
    """A preview that the node itself makes."""

    asked_for = whole = True


def test_previews_of_a_node_s_own_go_whole_where_none_are_wanted():
    recorder = Recorder(previews=False)
    recorder.events.preview("3", Asked(256, 128), {"node_id": "3"})
    (blob,) = recorder.sent
    assert Image.open(io.BytesIO(blob.body)).size == (256, 128)


def test_an_event_carries_its_job_and_owner(recorder: Recorder):
    recorder.events.emit("note", {"node": "1", "n": math.inf}, "owner")
    assert recorder.sent == [
        Emit(job_id="a", event="note", data_json=b'{"node": "1", "n": Infinity}', audience="owner", client_id="me")
    ]


def test_what_tells_where_nodes_begin_and_end_may_go_together(recorder: Recorder):
    for event in ("execution_start", "executing", "executed", "progress_state", "progress", "packs_own"):
        recorder.events.emit(event, {}, "owner")
    held = [message.event for message in recorder.held if isinstance(message, Emit)]
    assert held == ["execution_start", "executing", "executed", "progress_state"]


def test_a_quick_node_is_not_told_before_it_runs(recorder: Recorder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recorder.events, "is_quick", lambda node_id: node_id == "1")
    recorder.events.emit("executing", {"node": "1"}, "owner")
    assert recorder.flushed == 0
    recorder.events.emit("executing", {"node": "2"}, "owner")
    assert recorder.flushed == 1


def test_the_node_that_begins_is_told_before_it_runs(recorder: Recorder):
    recorder.events.emit("execution_cached", {"nodes": []}, "owner")
    assert recorder.flushed == 0
    recorder.events.emit("executing", {"node": "1"}, "owner")
    assert recorder.flushed == 1


def test_steps_reach_the_terminal_with_the_node_s_title(recorder: Recorder):
    recorder.events.emit("progress", {"value": 2, "max": 20, "node": "3"}, "owner_or_all")
    assert recorder.steps == [("3", "Sampler", 2, 20)]


@pytest.mark.parametrize(("size", "expected"), [((256, 128), (64, 32)), ((16, 8), (16, 8)), ((8, 512), (1, 64))])
def test_previews_are_jpegs_that_fit(recorder: Recorder, size: tuple[int, int], expected: tuple[int, int]):
    recorder.events.preview("3", Picture(*size), {"node_id": "3"})
    (blob,) = recorder.sent
    assert isinstance(blob, Blob)
    shown = Image.open(io.BytesIO(blob.body))
    assert (shown.format, shown.size, blob.image_type) == ("JPEG", expected, "image/jpeg")


def test_a_preview_with_alpha_is_no_problem(recorder: Recorder):
    recorder.events.preview("3", Picture(8, 8, "RGBA"), {})
    assert isinstance(recorder.sent[0], Blob)


class Broken:
    """A preview that cannot be made."""

    def __init__(self, lossless: bool) -> None:
        self.lossless = lossless

    def image(self) -> Image.Image:
        raise ValueError("odd latent")


def test_a_preview_that_fails_is_left_out(recorder: Recorder):
    recorder.events.preview("3", Broken(lossless=False), {})
    assert recorder.sent == []


def test_a_result_that_fails_is_an_error(recorder: Recorder):
    with pytest.raises(ValueError, match="odd latent"):
        recorder.events.preview("3", Broken(lossless=True), {})


def test_a_step_goes_with_its_picture(recorder: Recorder):
    recorder.events.preview("3", Picture(8, 8), {}, {"value": 2, "max": 20, "node": "3"})
    (blob,) = recorder.sent
    assert isinstance(blob, Blob)
    assert json.loads(blob.step_json) == {"value": 2, "max": 20, "node": "3"}
    assert recorder.steps == [("3", "Sampler", 2, 20)]


def test_a_step_whose_picture_fails_goes_alone(recorder: Recorder):
    recorder.events.preview("3", Broken(lossless=False), {}, {"value": 2, "max": 20, "node": "3"})
    (event,) = recorder.sent
    assert isinstance(event, Emit)
    assert (event.event, event.audience) == ("progress", "owner_or_all")
    assert recorder.steps == [("3", "Sampler", 2, 20)]


def test_a_preview_tells_where_it_belongs(recorder: Recorder):
    recorder.events.preview("3", Picture(8, 8), {"node_id": "3", "prompt_id": "a"})
    (blob,) = recorder.sent
    assert isinstance(blob, Blob)
    assert json.loads(blob.header_json) == {"node_id": "3", "prompt_id": "a"}


def test_a_text_is_sent_as_utf8(recorder: Recorder):
    recorder.events.text("3", "größer")
    (blob,) = recorder.sent
    assert isinstance(blob, Blob)
    assert (blob.kind, blob.node_id, blob.body) == ("text", "3", "größer".encode())


def test_a_lossless_picture_goes_whole_as_png(recorder: Recorder):
    picture = Picture(200, 100)
    picture.lossless = True  # type: ignore[attr-defined]  # an optional mark of previews that are results
    recorder.events.preview("3", picture, {})
    blob = recorder.sent[0]
    assert isinstance(blob, Blob)
    sent = Image.open(io.BytesIO(blob.body))
    assert (blob.image_type, sent.format, sent.size) == ("image/png", "PNG", (200, 100))


def test_previews_are_made_from_the_moment_that_they_are_wanted():
    recorder = Recorder(previews=False)
    recorder.events.preview("3", Picture(8, 8), {})
    recorder.choice.method = "latent2rgb"
    recorder.events.preview("3", Picture(8, 8), {})
    assert len(recorder.sent) == 1


def test_unwanted_previews_are_not_made():
    recorder = Recorder(previews=False)
    recorder.events.preview("3", Picture(8, 8), {})
    assert recorder.sent == []


def test_a_result_sent_as_a_picture_is_no_preview():
    recorder = Recorder(previews=False)
    picture = Picture(8, 8)
    picture.lossless = True  # type: ignore[attr-defined]
    recorder.events.preview("3", picture, {})
    assert isinstance(recorder.sent[0], Blob)
