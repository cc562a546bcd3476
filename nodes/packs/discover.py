"""Finds packs: what lies in the folders of custom nodes. Imports none of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from executor.files import Folders
from executor.settings import Settings

PRESTART = "prestartup_script.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A folder or a single file of custom nodes; `name` is its folder's name, or the file's without its ending."""

    name: str
    path: Path
    allowed: bool = True

    @property
    def module(self) -> str:
        """What its nodes are listed under (python_module)."""
        return f"custom_nodes.{self.name}"

    @property
    def key(self) -> str:
        """The name of its module in sys.modules: its path, without the dots that would make parents of folders."""
        path = self.path.with_suffix("") if self.path.suffix == ".py" and self.path.is_file() else self.path
        return str(path).replace(".", "_x_")

    @property
    def source(self) -> Path:
        """The file that is imported."""
        return self.path / "__init__.py" if self.path.is_dir() else self.path


def discover(folders: Folders, settings: Settings) -> list[Pack]:
    """Every pack in the folders of custom nodes, sorted by name within each; those switched off are not `allowed`."""
    packs = [pack for folder in folders.paths("custom_nodes") for pack in _in_folder(folder)]
    if not settings.disable_custom_nodes:
        return packs
    return [Pack(name=pack.name, path=pack.path, allowed=is_listed(pack, settings.allowed_packs)) for pack in packs]


def is_listed(pack: Pack, names: Iterable[str]) -> bool:
    """Tell whether a list of names holds a pack by its name or its file's."""
    return not {pack.name, pack.path.name}.isdisjoint(names)


def _in_folder(folder: Path) -> list[Pack]:
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError:
        return []  # not made yet, or not ours to read
    return [Pack(name=path.stem if path.is_file() else path.name, path=path) for path in entries if _is_pack(path)]


def _is_pack(path: Path) -> bool:
    if path.name.startswith(".") or path.name == "__pycache__" or path.name.endswith(".disabled"):
        return False
    if path.is_dir():
        return any((path / name).is_file() for name in ("__init__.py", PRESTART))
    return path.suffix == ".py" and path.is_file()
