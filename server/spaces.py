"""What each key may see and change: all there is, or with --isolate-keys its own. Knows no route."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from executor.files import Folders
from executor.own_folders import OwnFolders, folder_name
from server.keys import Key
from server.uploads import Uploads
from server.users import Users

KEY = web.RequestKey("key", Key)
"""The key that a request came with; there is none where the server asks for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What a request may see and change; `owner` None: everything, else what prompts of that owner are and left."""

    folders: Folders
    uploads: Uploads
    users: Users
    owner: str | None = None

    @property
    def mark(self) -> str:
        """The owner of what comes to be here; "": nobody's, which those that see everything share."""
        return self.owner or ""

    @property
    def is_whole(self) -> bool:
        """Tell whether it is all there is."""
        return self.owner is None


class Spaces:
    """The spaces of a server; `separate` gives each key its own, but those that see everything."""

    def __init__(self, folders: Folders, *, separate: bool, multi_user: bool) -> None:
        self.separate = separate
        self._multi_user = multi_user
        self._whole = self._made(folders, None)
        self._own: dict[str, Space] = {}

    def of(self, key: Key | None) -> Space:
        """The space of a key."""
        return self._whole if key is None or key.sees_all else self.named(key.name)

    def named(self, owner: str) -> Space:
        """The space of an owner; all there is for "", and where keys do not separate."""
        if not self.separate or not owner:
            return self._whole
        if owner not in self._own:
            folders = OwnFolders(self._whole.folders, folder_name(owner))
            self._own[owner] = self._made(folders, owner)
        return self._own[owner]

    def _made(self, folders: Folders, owner: str | None) -> Space:
        users = Users(folders.user, folders.fence, multi_user=self._multi_user)
        return Space(folders=folders, uploads=Uploads(folders), users=users, owner=owner)
