"""Pictures that are still on their way from a device: no step waits for them, the newest wins, none comes too late."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from executor.messages import Blob, Emit, FromWorker
from executor.worker.preview_desk import PreviewDesk
from tests.unit.executor.worker.test_events import Recorder

LONG_S = 30


class Slow:
    """A picture that is there when the test says so."""

    def __init__(self, colour: int = 0) -> None:
        self.colour, self.begun_at, self.there = colour, threading.Event(), threading.Event()

    def begun(self) -> Slow:
        return self

    def image(self) -> Image.Image:
        self.begun_at.set()
        assert self.there.wait(LONG_S)
        return Image.new("RGB", (4, 4), (self.colour,) * 3)


def step(value: int) -> dict[str, Any]:
    return {"value": value, "max": 4, "prompt_id": "p", "node": "1"}


def told(sent: list[FromWorker]) -> list[str]:
    return [message.event if isinstance(message, Emit) else type(message).__name__ for message in sent]


def test_a_step_does_not_wait_for_its_picture():
    recorder, picture = Recorder(), Slow()
    events, sent = recorder.events, recorder.sent
    events.preview("1", picture, {}, step(1))
    assert told(sent) == ["progress"]
    picture.there.set()
    events.emit("executed", {"node": "1"}, "owner")
    assert told(sent) in (["progress", "Blob", "executed"], ["progress", "executed"])


def test_the_newest_picture_wins():
    recorder, pictures = Recorder(), [Slow(colour) for colour in (10, 20, 30, 40)]
    events, sent = recorder.events, recorder.sent
    for number, picture in enumerate(pictures):
        picture.there.set() if number else None
        events.preview("1", picture, {}, step(number))
        assert not number or not picture.begun_at.is_set()
        assert pictures[0].begun_at.wait(LONG_S)
    pictures[0].there.set()
    assert pictures[3].begun_at.wait(LONG_S)
    events._desk.settle()
    assert [picture.begun_at.is_set() for picture in pictures] == [True, False, False, True]
    assert told(sent).count("Blob") == 2


def test_no_picture_comes_after_the_end_of_its_node():
    recorder, first, second = Recorder(), Slow(), Slow()
    events, sent = recorder.events, recorder.sent
    events.preview("1", first, {}, step(1))
    assert first.begun_at.wait(LONG_S)
    events.preview("1", second, {}, step(2))
    first.there.set()
    second.there.set()
    events.emit("executed", {"node": "1"}, "owner")
    assert told(sent)[-1] == "executed"


def test_its_picture_tells_no_step_a_second_time():
    recorder, picture = Recorder(), Slow()
    events, sent = recorder.events, recorder.sent
    picture.there.set()
    events.preview("1", picture, {"node_id": "1"}, step(1))
    assert picture.begun_at.wait(LONG_S)
    events._desk.settle()
    [blob] = [message for message in sent if isinstance(message, Blob)]
    assert (blob.step_json, json.loads(blob.header_json)) == (b"", {"node_id": "1"})


def test_a_picture_that_is_not_wanted_is_not_begun():
    recorder, picture = Recorder(previews=False), Slow()
    events, sent = recorder.events, recorder.sent
    events.preview("1", picture, {}, step(1))
    events._desk.settle()
    assert told(sent) == ["progress"]
    assert not picture.begun_at.is_set()


def test_a_desk_without_work_has_no_thread():
    desk, done = PreviewDesk(), threading.Event()
    desk.settle()
    desk.offer(done.set)
    assert done.wait(LONG_S)
    desk.settle()
    assert not [thread for thread in threading.enumerate() if thread.name == "previews"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_picture_that_fails_does_not_end_the_desk():
    desk, done = PreviewDesk(), threading.Event()

    def failing() -> None:
        raise OSError("no picture")

    desk.offer(failing)
    desk.settle()
    desk.offer(failing)
    for thread in [each for each in threading.enumerate() if each.name == "previews"]:
        thread.join(LONG_S)
    desk.offer(done.set)
    assert done.wait(LONG_S)


def test_a_desk_that_is_asked_for_more_while_it_works_goes_on():
    desk, order = PreviewDesk(), list[int]()
    going, entered, ended = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        entered.set()
        assert going.wait(LONG_S)
        order.append(1)

    def noted(number: int) -> Callable[[], None]:
        return lambda: order.append(number)

    desk.offer(first)
    assert entered.wait(LONG_S)
    for number in (2, 3):
        desk.offer(noted(number))
    desk.offer(ended.set)
    going.set()
    assert ended.wait(LONG_S)
    assert order == [1]
