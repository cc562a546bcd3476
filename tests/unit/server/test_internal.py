"""/internal/*."""

from __future__ import annotations

import logging
import os


async def test_log_as_one_text_and_as_lines(stand):
    stand.front.logbook.add("hello", 0.0)
    assert "hello\n" in await (await stand.get("/internal/logs")).json()
    raw = await (await stand.get("/internal/logs/raw")).json()
    assert raw["entries"][-1]["m"] == "hello\n"
    assert set(raw["size"]) == {"cols", "rows"}


async def test_subscriber_hears_new_lines(stand):
    socket = await stand.client.ws_connect("/ws?clientId=me")
    await socket.receive_json(timeout=60)
    await stand.client.patch("/internal/logs/subscribe", json={"clientId": "me", "enabled": True})
    stand.front.hub.publish_log({"entries": [], "size": None})
    assert await socket.receive_json(timeout=60) == {"type": "logs", "data": {"entries": [], "size": None}}
    await stand.client.patch("/internal/logs/subscribe", json={"clientId": "me", "enabled": False})
    stand.front.hub.publish_log({"entries": [], "size": None})
    stand.engine.emit("marker", {}, owner="me")
    assert (await socket.receive_json(timeout=60))["type"] == "marker"


async def test_folder_paths(stand):
    paths = await (await stand.get("/internal/folder_paths")).json()
    assert str(stand.base / "models" / "loras") in paths["loras"]


async def test_files_come_newest_first(stand):
    for age, name in enumerate(("new.png", "old.png")):
        path = stand.base / "input" / name
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    assert await (await stand.get("/internal/files/input")).json() == ["new.png", "old.png"]


async def test_files_of_an_unknown_folder(stand):
    answer = await stand.get("/internal/files/models")
    assert (answer.status, await answer.json()) == (400, {"error": "Invalid directory type"})


def test_log_book_keeps_the_newest_lines():
    from server.logbook import LogBook

    book = LogBook(lines=2)
    for text in "abc":
        book.handle(logging.LogRecord("n", logging.INFO, "", 0, "%s", (text,), None))
    assert [entry["m"] for entry in book.entries()] == ["b\n", "c\n"]


def test_log_book_tells_what_was_so_when_it_was_logged():
    from server.logbook import LogBook

    book, names = LogBook(), ["a"]
    book.handle(logging.LogRecord("n", logging.INFO, "", 0, "%s", (names,), None))
    names.append("b")
    assert [entry["m"] for entry in book.entries()] == ["['a']\n"]


def test_log_book_tells_only_who_listens():
    from server.logbook import LogBook

    book, told = LogBook(), []
    book.listener, book.is_heard = told.append, lambda: False
    book.add("a", 0.0)
    book.is_heard = lambda: True
    book.add("b", 0.0)
    assert [entry["m"] for entry in told] == ["b\n"]
