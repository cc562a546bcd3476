"""Users, their folders and settings. Knows no requests except the one header that names the user.

Without --multi-user everybody is `default` (reference/http_api.md section 1).
"""

from __future__ import annotations

import json
import logging
import re
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path

from executor.errors import BadInput, UnsafePath
from executor.fence import Fence, require_fit
from executor.files import inside
from executor.wholefile import write_whole

log = logging.getLogger("weft.front")

DEFAULT_USER = "default"
HEADER = "comfy-user"
SETTINGS_FILE = "comfy.settings.json"
USERS_FILE = "users.json"


class UnknownUser(BadInput):
    """A request on a multi-user server that names no user there is."""


class Users:
    """The users of a server and their files below the user folder. Its file work belongs in a thread."""

    def __init__(self, folder: Path, fence: Fence, *, multi_user: bool) -> None:
        self._folder = folder
        self.fence = fence
        self._lock = threading.Lock()
        self.multi_user = multi_user

    # ---------------------------------------------------------------- who

    def user_of(self, headers: Mapping[str, str]) -> str:
        """The user a request acts for; UnknownUser if a multi-user server does not know it."""
        if not self.multi_user:
            return DEFAULT_USER
        user = headers.get(HEADER, "")
        if user not in self.known():
            raise UnknownUser(f"there is no user {user!r}")
        return user

    def known(self) -> dict[str, str]:
        """User ids and names that were added."""
        return {str(key): str(value) for key, value in _read_object(self._folder / USERS_FILE).items()}

    def add(self, name: str) -> str:
        """Add a user and return the new id; BadInput for an empty or a taken name."""
        name = name.strip()
        if not name:
            raise BadInput("the user name is empty")
        with self._lock:
            users = self.known()
            if name in users.values():
                raise BadInput("Duplicate username.")
            user = f"{re.sub('[^a-zA-Z0-9-_]+', '-', name)}_{uuid.uuid4()}"
            write_json(self._folder / USERS_FILE, {**users, user: name})
        return user

    def migrated(self) -> bool:
        """Tell whether the single user's folder exists on this server."""
        return (self._folder / DEFAULT_USER).is_dir()

    # ---------------------------------------------------------------- files

    def root(self, user: str) -> Path:
        """The folder of a user's files; it may not exist yet."""
        return self._folder / user

    def path(self, user: str, name: str) -> Path:
        """A path inside a user's folder; UnsafePath outside it, also where a symbolic link leads there."""
        root = self.root(user)
        path = inside(root, name)
        if path == root and name not in ("", "."):
            raise UnsafePath(f"{name!r} names no file")
        return self.fence.require(path)

    def place(self, user: str, name: str) -> Path:
        """As `path`, for a file that is to be written; UnsafePath also for a name that no file should have."""
        require_fit(name)
        return self.path(user, name)

    # ---------------------------------------------------------------- settings

    def settings(self, user: str) -> dict[str, object]:
        """All settings of a user."""
        return _read_object(self.root(user) / SETTINGS_FILE)

    def change_settings(self, user: str, changes: Mapping[str, object]) -> None:
        """Merge `changes` into a user's settings, key by key."""
        with self._lock:
            write_json(self.root(user) / SETTINGS_FILE, {**self.settings(user), **changes}, indent=4)


def _read_object(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        log.error("%s cannot be read and counts as empty: %s", path, error)
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: object, indent: int | None = None) -> None:
    """Replace a JSON file in one step: readers see the old or the new one."""
    write_bytes(path, json.dumps(value, indent=indent).encode())


def write_bytes(path: Path, body: bytes) -> None:
    """Replace a file in one step, making its folder: readers see the old or the new one, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(body), lasting=True)
