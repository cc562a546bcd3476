"""Keys: what opens a server, and what a key file may say."""

import hashlib
from pathlib import Path

import pytest

from executor.errors import KeysUnusable
from executor.settings import Settings
from server.keys import SCOPES, KeyRing, key_ring, read_keys

TOKEN = "a-token-of-some-length"


def ring(tmp_path: Path, text: str) -> KeyRing:
    path = tmp_path / "keys.toml"
    path.write_text(text, encoding="utf-8")
    return key_ring(Settings(auth_keys=path))


def test_the_token_of_the_flag_may_do_everything():
    key = key_ring(Settings(auth_token=TOKEN)).of_token(TOKEN)
    assert key is not None
    assert key.scopes == SCOPES


@pytest.mark.parametrize("token", ["", "a-token-of-some-lengt", TOKEN + "x", "\udcff"])
def test_other_tokens_open_nothing(token: str):
    assert key_ring(Settings(auth_token=TOKEN)).of_token(token) is None


def test_a_file_gives_scopes_and_may_hold_digests_alone(tmp_path: Path):
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    found = ring(tmp_path, f'[[key]]\nname = "bot"\nsha256 = "{digest}"\nscopes = ["submit", "read"]\n').of_token(TOKEN)
    assert found is not None
    assert (found.name, found.scopes) == ("bot", {"submit", "read"})


def test_a_session_opens_as_long_as_its_key_stands(tmp_path: Path):
    key = key_ring(Settings(auth_token=TOKEN)).of_token(TOKEN)
    assert key is not None
    assert key_ring(Settings(auth_token=TOKEN)).of_session(key.session()) is not None
    assert key_ring(Settings(auth_token=TOKEN + "2")).of_session(key.session()) is None
    assert TOKEN not in key.session()


def test_a_key_does_not_show_its_secret():
    key = key_ring(Settings(auth_token=TOKEN)).of_token(TOKEN)
    assert repr(key.digest) not in repr(key)  # type: ignore[union-attr]
    assert TOKEN not in repr(Settings(auth_token=TOKEN))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no key"),
        ("[[key]", "cannot be read"),
        ("[keys]\n", "beside"),
        ('[[key]]\ntoken = "a-token-of-some-length"', "key 1 of"),
        ('[[key]]\nname = "a"', "either token or sha256"),
        ('[[key]]\nname = "a"\ntoken = "short"', "at least 16"),
        ('[[key]]\nname = "a"\nsha256 = "12"', "64 hexadecimal"),
        ('[[key]]\nname = "a"\ntoken = "a-token-of-some-length"\nscopes = ["red"]', "submit, read and manage"),
        ('[[key]]\nname = "a"\ntoken = "a-token-of-some-length"\nscope = ["read"]', "did you mean 'scopes'"),
        ('[[key]]\nname="a"\ntoken="a-token-of-some-length"\n[[key]]\nname="a"\ntoken="b-token-of-some-length"', "'a'"),
    ],
)
def test_a_file_that_opens_nothing_says_where_and_why(tmp_path: Path, text: str, said: str):
    with pytest.raises(KeysUnusable, match=said):
        ring(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(KeysUnusable, match=r"none\.toml"):
        read_keys(tmp_path / "none.toml")
