"""What packs bring as files: scripts for the web front end, example workflows, translations, subgraphs.

Knows folders, no requests and no process. Everything here reads the disk and belongs in a thread.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from executor.errors import UnsafePath
from executor.files import Folders, inside
from executor.settings import Settings

EXAMPLE_FOLDERS = ("example_workflows", "example", "examples", "workflow", "workflows")
LOCALE_FILES = {
    "main.json": None,
    "nodeDefs.json": "nodeDefs",
    "commands.json": "commands",
    "settings.json": "settings",
}
UNQUOTED = "/!$&'()*+,;=:@[]|~"
"""What browsers leave as it is in a path: a script must have one address, however it is asked for."""

WebDirs = Iterable[tuple[str, str]]
"""(name below /extensions/, absolute folder) of each pack that brings files for the front end."""


# ---------------------------------------------------------------- packs


class PackFiles:
    """The files of the packs that the settings let in."""

    def __init__(self, folders: Folders, settings: Settings) -> None:
        self._folders = folders
        self._off = settings.disable_custom_nodes
        self._allowed = frozenset(settings.allowed_packs)

    def entries(self) -> Iterator[Path]:
        """Every pack: folders, and single files; not what is hidden, `*.disabled`, or kept out by the settings."""
        for parent in self._folders.paths("custom_nodes"):
            if not parent.is_dir():
                continue
            for path in sorted(parent.iterdir()):
                if self._is_pack(path) and (not self._off or not self._allowed.isdisjoint({path.name, path.stem})):
                    yield path

    def folders(self) -> list[Path]:
        """Every pack that is a folder."""
        return [path for path in self.entries() if path.is_dir()]

    def any(self) -> bool:
        """Tell whether there is a pack to load at all."""
        return next(self.entries(), None) is not None

    def mark(self) -> str:
        """A text that is another one when packs come, go, or have another version of their files at the top."""
        digest = hashlib.sha256()
        for pack in self.entries():
            files = sorted(pack.glob("*.py")) if pack.is_dir() else [pack]
            for path in (pack, *files):
                digest.update(f"{path}\0{path.stat().st_mtime_ns if path.is_file() else 0}\0".encode())
        return digest.hexdigest()

    def _is_pack(self, path: Path) -> bool:
        if path.name.startswith((".", "__pycache__")) or path.name.endswith(".disabled"):
            return False
        return path.is_dir() or path.suffix == ".py"

    # ------------------------------------------------------------ what is in them

    def examples(self) -> dict[str, list[str]]:
        """The names of each pack's example workflows."""
        found: dict[str, list[str]] = {}
        for pack in self.folders():
            names = [path.stem for name in EXAMPLE_FOLDERS for path in sorted((pack / name).glob("*.json"))]
            if names:
                found[pack.name] = names
        return found

    def example(self, name: str) -> Path | None:
        """The file `<pack>/<file>` of a pack's example workflows, or None."""
        wanted, _, file = name.partition("/")
        places = (pack / folder for pack in self.folders() if pack.name == wanted for folder in EXAMPLE_FOLDERS)
        return next((path for place in places if (path := file_in(place, file))), None)

    def translations(self) -> dict[str, dict[str, object]]:
        """What packs translate, by language."""
        merged: dict[str, dict[str, object]] = {}
        for pack in self.folders():
            for language in sorted(path for path in (pack / "locales").glob("*") if path.is_dir()):
                for name, key in LOCALE_FILES.items():
                    _merge(merged.setdefault(language.name, {}), _json_object(language / name), key)
        return {language: texts for language, texts in merged.items() if texts}

    def subgraphs(self) -> dict[str, tuple[dict[str, object], Path]]:
        """Every `<pack>/subgraphs/*.json`; an id is the SHA-256 of pack and name, so that it outlives a move."""
        found: dict[str, tuple[dict[str, object], Path]] = {}
        for pack in self.folders():
            for path in sorted((pack / "subgraphs").glob("*.json")):
                key = hashlib.sha256(f"{pack.name}/{path.stem}".encode()).hexdigest()
                found[key] = {"source": "custom_node", "name": path.stem, "info": {"node_pack": pack.name}}, path
        return found

    def subgraph(self, key: str) -> dict[str, object] | None:
        """A subgraph with its text, or None."""
        found = self.subgraphs().get(key)
        if found is None:
            return None
        shown, path = found
        try:
            return {**shown, "data": path.read_text(encoding="utf-8")}
        except (OSError, ValueError):
            return None


# ---------------------------------------------------------------- their web folders


def scripts(web_dirs: WebDirs) -> list[str]:
    """The address of every script in the packs' web folders, at any depth: the front end imports each at its start."""
    found: list[str] = []
    for name, folder in web_dirs:
        names = glob.iglob("**/*.js", root_dir=folder, recursive=True)
        found += sorted(quote(f"/extensions/{name}/{path.replace(os.sep, '/')}", safe=UNQUOTED) for path in names)
    return found


def web_file(web_dirs: WebDirs, name: str) -> Path | None:
    """The file `<pack>/<path>` below the packs' web folders, or None."""
    wanted, _, file = name.partition("/")
    places = (Path(os.path.abspath(folder)) for pack, folder in web_dirs if pack == wanted)
    return next((path for place in places if (path := file_in(place, file))), None)


def file_in(folder: Path, name: str) -> Path | None:
    """The file of this name in a folder, never outside it, or None."""
    try:
        path = inside(folder, name)
        return path if path.is_file() else None
    except (UnsafePath, OSError):  # such as a name that is too long
        return None


# ---------------------------------------------------------------- parts


def _merge(into: dict[str, object], texts: dict[str, object], key: str | None) -> None:
    if not texts:
        return
    if key is None:
        into.update(texts)
        return
    section = into.setdefault(key, {})
    if isinstance(section, dict):
        section.update(texts)


def _json_object(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
