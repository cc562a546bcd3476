"""The keys that open a server: names, scopes, and the search of one by its token. Knows no requests.

A key file is TOML: one `[[key]]` table for each, with `name`, `token` (or `sha256`, the token's digest in hex, so that
the file holds no secret) and `scopes`, a list of `submit`, `read` and `manage` (all of them, where it is left out).
With --isolate-keys a key sees only what is its own, but one with `manage`, and one that says `isolate = false`.
"""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from executor.errors import KeysUnusable, UnknownName
from executor.settings import Settings

Scope = Literal["submit", "read", "manage"]
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))
LEAST_TOKEN = 16
"""Characters that a token has at least: a shorter one can be guessed."""
_FIELDS = ("name", "token", "sha256", "scopes", "isolate")


@dataclass(frozen=True, slots=True)
class Key:
    """Who may do what; the token itself is not kept."""

    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope] = SCOPES
    isolate: bool = True

    @property
    def sees_all(self) -> bool:
        """Tell whether it sees every key's prompts and files, also where keys separate."""
        return not self.isolate or "manage" in self.scopes

    def session(self) -> str:
        """What a browser keeps in the token's place: it opens the server while the key stands, and tells nothing."""
        return hmac.digest(self.digest, b"weft session", "sha256").hex()


class KeyRing:
    """All keys of a server."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def separate(self) -> int:
        """How many keys see only their own where keys separate."""
        return sum(not key.sees_all for key in self._keys)

    def of_token(self, token: str) -> Key | None:
        """The key of a token; takes as long for a wrong one as for a right one."""
        digest = digest_of(token)
        return self._pick([hmac.compare_digest(key.digest, digest) for key in self._keys])

    def of_session(self, session: str) -> Key | None:
        """The key that a browser's cookie stands for, in constant time too."""
        given = session.encode(errors="replace")
        return self._pick([hmac.compare_digest(key.session().encode(), given) for key in self._keys])

    def _pick(self, fits: list[bool]) -> Key | None:
        return next((key for key, fit in zip(self._keys, fits, strict=True) if fit), None)


def digest_of(token: str) -> bytes:
    """The SHA-256 digest of a token."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def key_ring(settings: Settings) -> KeyRing:
    """The keys that the settings name; KeysUnusable for a file, a key or a token that cannot be one."""
    keys: list[Key] = []
    if settings.auth_token is not None:
        _check_token(settings.auth_token, "--auth-token")
        keys.append(Key("token", digest_of(settings.auth_token)))
    if settings.auth_keys is not None:
        keys += read_keys(settings.auth_keys)
    names = [key.name for key in keys]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise KeysUnusable(f"two keys have the name {twice!r}")
    if settings.isolate_keys and not keys:
        raise KeysUnusable("--isolate-keys separates keys, and there are none: give --auth-keys FILE, or leave it out")
    return KeyRing(keys)


def read_keys(path: Path) -> list[Key]:
    """The keys of a key file; KeysUnusable names the file and what is wrong in it."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KeysUnusable(f"the key file {path} cannot be read: {error}") from error
    entries = told.pop("key", [])
    if told or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise KeysUnusable(f"the key file {path} holds something beside [[key]] tables: {', '.join(told) or 'key'}")
    if not entries:
        raise KeysUnusable(f"the key file {path} names no key; write a [[key]] table with name, token and scopes")
    return [_key(entry, f"key {number} of {path}") for number, entry in enumerate(entries, 1)]


def _key(entry: Mapping[str, object], where: str) -> Key:
    strange = next((name for name in entry if name not in _FIELDS), None)
    if strange is not None:
        raise KeysUnusable(f"{where}: {UnknownName('field', strange, _FIELDS)}")
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise KeysUnusable(f"{where} has no name")
    where = f"{where} ({name})"
    isolate = entry.get("isolate", True)
    if not isinstance(isolate, bool):
        raise KeysUnusable(f"{where}: isolate is true or false, not {isolate!r}")
    return Key(name, _digest(entry, where), _scopes(entry.get("scopes", sorted(SCOPES)), where), isolate)


def _scopes(told: object, where: str) -> frozenset[Scope]:
    scopes = frozenset(scope for scope in SCOPES if isinstance(told, list) and scope in told)
    if not isinstance(told, list) or not told or len(scopes) != len(told):
        raise KeysUnusable(f"{where}: scopes are a list of submit, read and manage, not {told!r}")
    return scopes


def _digest(entry: Mapping[str, object], where: str) -> bytes:
    token, digest = entry.get("token"), entry.get("sha256")
    if (token is None) == (digest is None):
        raise KeysUnusable(f"{where}: give either token or sha256")
    if token is not None:
        _check_token(token, where)
        return digest_of(str(token))
    try:
        found = bytes.fromhex(str(digest))
    except ValueError:
        found = b""
    if len(found) != hashlib.sha256().digest_size:
        raise KeysUnusable(f"{where}: sha256 is the digest of a token in 64 hexadecimal digits")
    return found


def _check_token(token: object, where: str) -> None:
    if not isinstance(token, str) or len(token) < LEAST_TOKEN:
        raise KeysUnusable(f"{where}: a token is a text of at least {LEAST_TOKEN} characters")
