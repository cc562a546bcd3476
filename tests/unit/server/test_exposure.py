"""A server that everybody could reach asks for keys, or says plainly that it does not."""

import re
import sys

import pytest

from executor.errors import KeysUnusable
from executor.settings import Settings
from server.exposure import require_keys, without_secrets


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(host="localhost, ::1"),
        Settings(host="0.0.0.0", no_auth=True),
        Settings(host="0.0.0.0", auth_token="a-token-of-some-length"),
    ],
)
def test_a_server_for_this_machine_or_with_keys_may_listen(settings: Settings):
    require_keys(settings, [])


def test_the_refusal_has_both_commands_ready_to_copy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["weft"])
    with pytest.raises(KeysUnusable) as refused:
        require_keys(Settings(host="127.0.0.1,0.0.0.0"), ["--listen", "127.0.0.1,0.0.0.0", "--port", "9"])
    lines = [line.strip() for line in str(refused.value).splitlines()]
    assert "weft --listen 127.0.0.1,0.0.0.0 --port 9 --no-auth" in lines
    with_key = next(line for line in lines if line.startswith("WEFT_AUTH_TOKEN="))
    assert re.fullmatch(r"WEFT_AUTH_TOKEN=[\w-]{32} weft --listen 127\.0\.0\.1,0\.0\.0\.0 --port 9", with_key)


def test_a_module_is_told_to_be_called_as_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/server/__main__.py"])
    with pytest.raises(KeysUnusable, match=r" -m server --listen --no-auth"):
        require_keys(Settings(host="0.0.0.0"), ["--listen"])


def test_where_it_may_be_open_there_is_a_loud_warning(caplog: pytest.LogCaptureFixture):
    require_keys(Settings(host="0.0.0.0"), [], may_be_open=True)
    assert "EVERYBODY" in caplog.text


def test_tokens_are_not_shown():
    shown = without_secrets(["--auth-token", "secret", "--port", "1", "--auth-token=secret"])
    assert shown == ["--auth-token", "(hidden)", "--port", "1", "--auth-token=(hidden)"]
