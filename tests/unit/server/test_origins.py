"""Which pages may use a server: its own; and programs, whatever they call it."""

from __future__ import annotations

import pytest

from server.origins import is_own_name

PAGE = {"User-Agent": "Mozilla/5.0", "Sec-Fetch-Site": "same-origin"}
OTHER = {"User-Agent": "Mozilla/5.0", "Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1:8188", True),
        ("192.168.1.5:8188", True),
        ("[::1]:8188", True),
        ("localhost", True),
        ("mypc:8188", True),
        ("mypc.local", True),
        ("box.home.arpa", True),
        ("known.example", True),
        (None, True),
        ("evil.example:8188", False),
        ("127.0.0.1.evil.example", False),
        ("local.evil.example", False),
    ],
)
def test_names_that_others_can_register_are_not_ones_own(host: str | None, is_own: bool):
    assert is_own_name(host, {"known.example"}) is is_own


async def test_a_page_that_rebound_its_name_is_refused(stand):
    answer = await stand.get("/queue", headers={**PAGE, "Host": "evil.example:8188"})
    assert answer.status == 403
    assert "--allow-host" in (await answer.json())["error"]["message"]


async def test_a_program_may_call_the_server_by_any_name(stand):
    assert (await stand.get("/queue", headers={"Host": "weft.svc.cluster.example"})).status == 200


async def test_a_name_that_was_allowed_is_the_servers_own(make_stand):
    stand = await make_stand(allowed_hosts=("draw.example",))
    assert (await stand.get("/queue", headers={**PAGE, "Host": "draw.example"})).status == 200


async def test_with_keys_a_browser_needs_one_under_any_name(make_stand):
    stand = await make_stand(auth_token="a-token-of-some-length")
    headers = {**PAGE, "Host": "draw.example"}
    assert (await stand.get("/queue", headers=headers)).status == 401
    assert (await stand.get("/queue?token=a-token-of-some-length", headers=headers)).status == 200


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {**OTHER, "Sec-Fetch-Mode": "navigate"}, 200),  # a link, or a login proxy that sends the browser back
        ("GET", {**OTHER, "Sec-Fetch-Mode": "no-cors"}, 403),
        ("POST", {**OTHER, "Sec-Fetch-Mode": "navigate"}, 403),
        ("GET", {**OTHER, "Sec-Fetch-Mode": "no-cors", "Host": "192.168.1.5"}, 200),
        ("POST", {**OTHER, "Sec-Fetch-Mode": "no-cors", "Host": "192.168.1.5"}, 403),
        ("POST", {"Origin": "http://evil.example", "Host": "192.168.1.5"}, 403),
        ("POST", {"Origin": "null", "Host": "192.168.1.5"}, 403),
        ("POST", {"Origin": "http://192.168.1.5", "Host": "192.168.1.5"}, 200),
        ("POST", PAGE, 200),
    ],
)
async def test_pages_of_other_sites_may_not_change_anything(stand, method: str, headers: dict[str, str], status: int):
    path = "/queue" if method == "GET" else "/interrupt"
    assert (await stand.client.request(method, path, headers=headers)).status == status


async def test_pages_of_other_sites_open_no_websocket(stand):
    headers = {"Origin": "http://evil.example", "Host": "192.168.1.5", "Upgrade": "websocket", "Connection": "Upgrade"}
    assert (await stand.get("/ws", headers=headers)).status == 403


@pytest.mark.parametrize("path", ["/queue", "/object_info", "/nowhere", "/view?filename=none.png", "/"])
async def test_no_browser_may_guess_a_type(stand, path: str):
    assert (await stand.get(path)).headers["X-Content-Type-Options"] == "nosniff"
