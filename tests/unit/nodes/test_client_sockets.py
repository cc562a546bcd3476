"""Clients as packs see them, as the front tells of them."""

from __future__ import annotations

import pytest

from executor.messages import Clients
from nodes.client_sockets import ClientSockets


@pytest.fixture
def sent() -> list[tuple[object, ...]]:
    return []


@pytest.fixture
def clients(sent: list[tuple[object, ...]]) -> ClientSockets:
    return ClientSockets(lambda *what: sent.append(what))


def test_clients_come_change_and_go(clients: ClientSockets):
    clients.take(Clients(changes={"a": {}, "b": {}}))
    first = clients.sockets["a"]
    clients.take(Clients(changes={"a": {"x": True}, "b": None}))
    assert clients.sockets == {"a": first}
    assert clients.metadata == {"a": {"feature_flags": {"x": True}}}


def test_a_whole_list_leaves_no_others(clients: ClientSockets):
    clients.take(Clients(changes={"a": {}, "b": {}}))
    gone = clients.sockets["a"]
    clients.take(Clients(changes={"b": {}, "c": {}}, whole=True))
    assert set(clients.sockets) == set(clients.metadata) == {"b", "c"}
    assert (gone.closed, clients.sockets["b"].closed) == (True, False)


async def test_what_is_sent_to_a_socket_is_an_event_for_its_client(
    clients: ClientSockets, sent: list[tuple[object, ...]]
):
    clients.take(Clients(changes={"a": {}}))
    await clients.sockets["a"].send_json({"type": "x", "data": [1]})
    await clients.sockets["a"].send_str('{"type": "y"}')
    await clients.sockets["a"].send_bytes(b"\x00\x00\x00\x07rest")
    assert sent == [("x", [1], "a"), ("y", None, "a"), (7, b"rest", "a")]
