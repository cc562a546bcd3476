"""Attributes of models by dotted paths, and patches that put other objects there. Knows no models."""

from __future__ import annotations

from collections.abc import Mapping

from executor.errors import NodeInputError

ABSENT = object()


def attribute(root: object, path: str) -> object:
    """What lies at a dotted path; numbers are places in a list of modules. NodeInputError when nothing does."""
    found = root
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise NodeInputError(f"there is no {path!r} in {type(root).__name__}: nothing at {name!r}") from None
    return found


class ObjectPatches:
    """Objects of one model that are replaced at present."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._applied: dict[str, object] = {}
        self._pristine: dict[str, object] = {}  # what lay in the owner itself; ABSENT: found through its class

    def apply(self, patches: Mapping[str, object]) -> None:
        """Let exactly these objects (dotted path → object) be replaced."""
        if {path: id(item) for path, item in patches.items()} == {p: id(item) for p, item in self._applied.items()}:
            return
        for path in reversed(self._applied):
            self._restore(path)
        self._applied.clear()
        for path, item in patches.items():
            owner, name = self._place(path)
            self._pristine[path] = own_attribute(owner, name)
            setattr(owner, name, item)
            self._applied[path] = item

    def pristine(self, path: str) -> object:
        """What lies at a path when nothing is replaced there."""
        before = self._pristine.get(path, ABSENT) if path in self._applied else ABSENT
        return attribute(self._root, path) if before is ABSENT else before

    def _place(self, path: str) -> tuple[object, str]:
        parent, _, name = path.rpartition(".")
        return (attribute(self._root, parent) if parent else self._root), name

    def _restore(self, path: str) -> None:
        owner, name = self._place(path)
        before = self._pristine.pop(path)
        if before is ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def own_attribute(owner: object, name: str) -> object:
    """What an object itself holds under a name (modules hold parts in tables of their own), or ABSENT."""
    for table in ("_modules", "_parameters", "_buffers"):
        held = getattr(owner, table, None)
        if isinstance(held, dict) and name in held:
            return held[name]
    return vars(owner).get(name, ABSENT) if hasattr(owner, "__dict__") else getattr(owner, name, ABSENT)
