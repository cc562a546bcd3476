"""What each key may see and change: all there is, or with --isolate-keys its own. Knows no route."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from server.keys import Key

KEY = web.RequestKey("key", Key)
"""The key that a request came with; there is none where the server asks for none."""


@dataclass(frozen=True, slots=True)
class Space:
    """What a request may see and change; `owner` None: everything, else what prompts of that owner are and left."""

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

    def __init__(self, *, separate: bool) -> None:
        self._separate = separate
        self._whole = Space()

    def of(self, key: Key | None) -> Space:
        """The space of a key."""
        if not self._separate or key is None or key.sees_all:
            return self._whole
        return Space(owner=key.name)
