"""Type names: what a link may join, and lists that remember which files they were made of. Knows no node classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import SupportsIndex

from executor.contract.definition import FileChoices

ANY = "*"
COMBO = "COMBO"
MATCH_TYPE = "COMFY_MATCHTYPE_V3"

COMMON_TYPES = (
    "IMAGE", "MASK", "LATENT", "CONDITIONING", "MODEL", "CLIP", "VAE", "CONTROL_NET", "CLIP_VISION",
    "CLIP_VISION_OUTPUT", "STYLE_MODEL", "GLIGEN", "UPSCALE_MODEL", "AUDIO", "VIDEO", "SAMPLER", "SIGMAS", "NOISE",
    "GUIDER", "INT", "FLOAT", "STRING", "BOOLEAN", COMBO,
)  # fmt: skip
"""Names that a type with its own idea of equality is tried against."""

_STRANGER = "\x00no such type"


class FileList(list[str]):
    """A list of file names that knows which files it lists, also after fixed choices were put around it.

    Any other change makes it an ordinary list: `choices` is None from then on (design section 5.3).
    """

    def __init__(self, choices: FileChoices | None, names: Iterable[str] = ()) -> None:
        super().__init__(names)
        self.choices = choices

    def __add__(self, other: Iterable[str]) -> FileList:  # type: ignore[override]  # list's is overloaded on the item
        added = list(other)
        return FileList(self._with(after=added), [*self, *added])

    def __radd__(self, other: Iterable[str]) -> FileList:
        added = list(other)
        return FileList(self._with(before=added), [*added, *self])

    def __iadd__(self, other: Iterable[str]) -> FileList:  # type: ignore[override]  # as above
        self.extend(other)
        return self

    def __getitem__(self, key: SupportsIndex | slice) -> str | list[str]:  # type: ignore[override]  # one signature
        if isinstance(key, slice) and key == slice(None, None, None):
            return self.copy()
        return super().__getitem__(key)

    def __setitem__(self, key: SupportsIndex | slice, value: object) -> None:
        self.choices = None
        super().__setitem__(key, value)  # type: ignore[call-overload]  # list checks it

    def __delitem__(self, key: SupportsIndex | slice) -> None:
        self.choices = None
        super().__delitem__(key)

    def copy(self) -> FileList:
        """Another list of the same files."""
        return FileList(self.choices, self)

    def append(self, name: str) -> None:
        """Put a fixed choice at the end."""
        self.extend([name])

    def extend(self, names: Iterable[str]) -> None:
        """Put fixed choices at the end."""
        added = list(names)
        self.choices = self._with(after=added)
        super().extend(added)

    def insert(self, index: SupportsIndex, name: str) -> None:
        """Put a fixed choice in front; elsewhere the list forgets its files."""
        self.choices = self._with(before=[name]) if int(index) == 0 else None
        super().insert(index, name)

    def pop(self, index: SupportsIndex = -1) -> str:
        """Take one name out; the list forgets its files."""
        self.choices = None
        return super().pop(index)

    def remove(self, name: str) -> None:
        """Take a name out; the list forgets its files."""
        self.choices = None
        super().remove(name)

    def clear(self) -> None:
        """Take everything out; the list forgets its files."""
        self.choices = None
        super().clear()

    def reverse(self) -> None:
        """Turn the order round; the list forgets its files."""
        self.choices = None
        super().reverse()

    def _with(self, before: Iterable[str] = (), after: Iterable[str] = ()) -> FileChoices | None:
        if self.choices is None:
            return None
        return FileChoices(
            source=self.choices.source,
            before=(*map(str, before), *self.choices.before),
            after=(*self.choices.after, *map(str, after)),
            content=self.choices.content,
            assembled=self.choices.assembled,
        )


def plain(name: str) -> str:
    """The characters of a type name, without the subclass it may come in."""
    return str.__str__(name)


def matching_name(name: str, common: Iterable[str] = COMMON_TYPES) -> str:
    """A type name as plain text that matches what the class's own `!=` matches.

    Packs write types as subclasses of str whose `!=` says no; the type of a link is compared with it (execution.md
    section 2, rule 1). One that differs from nothing is "*"; one that accepts some of `common` becomes their union.
    """
    text = plain(name)
    if type(name).__ne__ is str.__ne__:
        return text
    if not differs(name, _STRANGER):
        return ANY
    members = _members(text)
    accepted = [text, *(other for other in common if other not in members and not differs(name, other))]
    return ",".join(accepted) if len(accepted) > 1 else text


def differs(name: str, other: str) -> bool:
    """Apply the `!=` of a type name, which a subclass of str may answer differently from `==`."""
    return bool(name != other)


def may_link(received: str, declared: str) -> bool:
    """Tell whether an output of type `received` may go into an input of type `declared` (execution.md section 2).

    Both may be unions ("INT,FLOAT"); a "*" in either matches all, as in versions of 2026.
    """
    if received == declared or MATCH_TYPE in (received, declared):
        return True
    ours, theirs = _members(received), _members(declared)
    return ANY in ours or ANY in theirs or not ours.isdisjoint(theirs)


def _members(union: str) -> set[str]:
    return {member.strip() for member in union.split(",")}
