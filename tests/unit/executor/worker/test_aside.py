"""The second connection of a worker: one question, one answer, and what becomes of a front that does not answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from executor.errors import BadInput, NotReady
from executor.messages import HEADER, Hello, Reply, Request, decode_from_worker, frame
from executor.worker.aside import Aside

Answer = Callable[[Request], Reply | None]


class Front:
    """Listens on a socket and answers every question with what `answer` makes of it (None: hangs up)."""

    def __init__(self, path: Path) -> None:
        self.heard: list[Hello | Request] = []
        self.answer: Answer = lambda request: Reply(id=request.id, value_json=request.body_json)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            with line, line.makefile("rb") as stream:
                while head := stream.read(HEADER.size):
                    message = decode_from_worker(stream.read(HEADER.unpack(head)[0]))
                    self.heard.append(message)
                    if isinstance(message, Hello):
                        continue
                    reply = self.answer(message)
                    if reply is None:
                        break
                    line.sendall(frame(reply))

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def front(path: Path) -> Iterator[Front]:
    front = Front(path)
    yield front
    front.close()


@pytest.fixture
def aside(path: Path) -> Iterator[Aside]:
    numbers = count(5)
    aside = Aside(str(path), "secret", lambda: next(numbers), patience_s=10.0)
    yield aside
    aside.close()


def test_one_connection_proves_itself_once_and_asks_often(front: Front, aside: Aside):
    assert [aside.ask("queue", b"1"), aside.ask("delete", b"2")] == [b"1", b"2"]
    hello, *requests = front.heard
    assert (hello.token, hello.aside) == ("secret", True)
    assert requests == [
        Request(id=5, wish="queue", body_json=b"1", aside=True),
        Request(id=6, wish="delete", body_json=b"2", aside=True),
    ]


def test_a_refusal_is_raised(front: Front, aside: Aside):
    front.answer = lambda request: Reply(id=request.id, error="no such thing")
    with pytest.raises(BadInput, match="no such thing"):
        aside.ask("queue", b"null")


def test_a_front_that_hangs_up_is_gone_and_asked_anew_the_next_time(front: Front, aside: Aside):
    usual, front.answer = front.answer, lambda request: None
    with pytest.raises(NotReady):
        aside.ask("queue", b"1")
    front.answer = usual
    assert aside.ask("queue", b"2") == b"2"


def test_where_nobody_listens_the_server_is_gone(aside: Aside):
    with pytest.raises(NotReady, match="gone"):
        aside.ask("queue", b"1")
